"""Part 1: every event comes three times, late and out of order, while answers are lost."""

from pathlib import Path

from crashlib.table import Table
from paylib.till import Till
from paylib.shop import open_shop
from stormslib.crowd import agree, close, until

FAULTS = (
    "faults.rates.webhook-duplicate=1.0",
    "faults.rates.webhook-out-of-order=0.5",
    "faults.rates.webhook-late=0.25",
    "faults.rates.answer-lost=0.3",
    "webhooks.late=2s",
)
COPIES = 3


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int) -> dict:
    table.part(f"{orders:,} orders are paid, their events come {COPIES} times, shuffled, and 30 % of the answers are lost")
    shop = open_shop(orderly, sim, work, webhooks=True, faults=FAULTS)
    till = Till(shop.service, "webhooks")
    till.sell(orders)
    until(shop, "paid", lambda order: order["payment_state"] == "AUTHORIZED")
    shop.provider.drain()
    found = agree(table, shop)
    deliveries = shop.provider.deliveries()
    table.none("orders and pays that failed", till.failed)
    table.claim("charges = pays that were accepted", len(till.sold), shop.provider.summary()["successful"]["authorization"])
    table.claim("events delivered", COPIES * orders, deliveries)
    # Placed, paid, settled, and in doubt between where the answer was lost: nothing is told twice.
    table.none("orders with a version that nothing made", [order["id"] for order in found if order["version"] not in (3, 4)])
    doubted = sum(order["version"] == 4 for order in found)
    table.shown("answers that were lost and in doubt for a time", doubted)
    close(shop)
    return {"orders": orders, "events_delivered": deliveries, "doubted": doubted}
