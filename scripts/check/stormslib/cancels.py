"""Part 3: a cancel overtakes the pay, the provider's answer, or the provider itself."""

import random
import time
from pathlib import Path

from crashlib.client import ORDER
from crashlib.service import Failed
from crashlib.table import Table
from paylib.shop import open_shop
from stormslib.crowd import agree, ask, close, spread, total, until

HANDS = 8
FAULTS = (
    "faults.rates.late-apply=0.2",
    "faults.rates.answer-lost=0.1",
    "faults.rates.effect-lost=0.1",
    "faults.late=500ms",
)


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int, seed: int) -> dict:
    table.part(f"{orders} orders are paid and cancelled at once, while effects come late and answers are lost")
    shop = open_shop(orderly, sim, work, faults=FAULTS)
    clients, before = [(shop.service.client(), shop.service.client()) for _ in range(HANDS)], []
    chance = random.Random(f"cancels/{seed}")
    pauses = [chance.choice((0.0, 0.0, 0.002, 0.01, 0.05)) for _ in range(orders)]

    def both(hand: int, number: int) -> None:
        first, second = clients[hand]
        placed = first.ask("POST", "/v1/orders", f"cancels-{number:06}-key", ORDER)
        if placed.status != 201:
            raise Failed(f"an order is not placed: {placed}")
        order = placed.json()["id"]
        first.send("POST", f"/v1/orders/{order}/pay", f"pay-{order}", '{"instrument":"tok_ok"}')
        time.sleep(pauses[number])
        cancelled = ask(second, order, "cancel", f"cancel-{order}", {})
        if cancelled.status not in (200, 202):
            raise Failed(f"a cancel is not accepted: {cancelled}")
        if first.receive().status not in (202, 503):
            before.append(order)

    spread(list(range(orders)), HANDS, both)
    until(shop, "cancelled", lambda order: order["state"] == "CANCELLED")
    found = agree(table, shop)
    left = total(found, "authorized") - total(found, "voided")
    table.claim("money still held (minor units)", 0, left)
    table.claim("money taken (minor units)", 0, total(found, "captured"))
    table.at_least("cancels that came before the pay", 1, len(before))
    table.at_least("pays that came before the cancel", 1, orders - len(before))
    table.shown("holds that were let go of", shop.provider.summary()["successful"]["void"])
    close(shop)
    return {"orders": orders, "cancel_first": len(before), "voids": shop_voids(found)}


def shop_voids(found: list[dict]) -> int:
    return sum(int(payment["voided"]["amount_minor"]) > 0 for order in found for payment in order["payments"])
