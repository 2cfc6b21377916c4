"""Many clients at once, and the judge of what they did."""

import json
import threading
import time
from typing import Callable, Iterable

from crashlib.client import Answer, Client
from crashlib.service import Failed
from crashlib.table import Table
from paylib.provider import disagreements
from paylib.shop import Shop
from paylib.till import all_orders, whole

SETTLE_SECONDS = 120
AGAIN = (429, 503, 504)


def close(shop: Shop) -> None:
    shop.end()
    shop.provider.kill()


def ask(client: Client, order: str, verb: str, key: str, body: dict) -> Answer:
    """Asks under a key until there is an answer that says something of it."""
    for _ in range(50):
        answer = client.ask("POST", f"/v1/orders/{order}/{verb}", key, json.dumps(body))
        if answer.status not in AGAIN:
            return answer
        time.sleep(0.05)
    raise Failed(f"{verb} is not answered: {answer}")


def at_once(jobs: Iterable[Callable[[], None]]) -> None:
    """Runs all of them from one instant on."""
    jobs = list(jobs)
    gate, failures = threading.Barrier(len(jobs)), []

    def run(job: Callable[[], None]) -> None:
        gate.wait()
        try:
            job()
        except Exception as failure:  # noqa: BLE001 - told by the thread that waits
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(str(failures[0]))


def spread(items: list, hands: int, work: Callable) -> None:
    """Does `work(hand, item)` for each, by so many hands."""

    def part(hand: int) -> Callable[[], None]:
        return lambda: [work(hand, item) for item in items[hand::hands]] and None

    at_once(part(hand) for hand in range(hands))


def until(shop: Shop, what: str, holds: Callable[[dict], bool], limit: float = SETTLE_SECONDS) -> dict[str, dict]:
    """Waits until every order is so, and tells them."""
    began = time.monotonic()
    while True:
        orders = all_orders(shop.service)
        left = [order for order in orders.values() if not holds(order)]
        if not left:
            return orders
        if time.monotonic() - began > limit:
            raise Failed(f"{len(left)} orders are not {what} after {limit:.0f} s, such as {left[0]['id']}: {left[0]['payment_state']}")
        time.sleep(0.2)


def agree(table: Table, shop: Shop) -> list[dict]:
    """The ledger, the orders and the audit tell the same; the orders are told."""
    orders, ledger = whole(shop.service, all_orders(shop.service)), shop.provider.payments()
    table.none("sums of orders and ledger that differ", [w for order in orders for w in disagreements(order, ledger)])
    table.claim("effects that were doubled", 0, shop.provider.summary()["references_doubled"])
    known = {payment["id"] for order in orders for payment in order["payments"]}
    table.none("payments that no order knows", [payment for payment in ledger if payment not in known])
    table.none("what the audit found", shop.service.findings())
    return orders


def total(orders: list[dict], word: str) -> int:
    return sum(int(payment[word]["amount_minor"]) for order in orders for payment in order["payments"])
