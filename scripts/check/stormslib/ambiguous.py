"""Part 4: many orders while a fifth of the provider's answers says nothing."""

import time
from pathlib import Path

from crashlib.service import Failed
from crashlib.table import Table
from paylib.till import Till, all_orders
from paylib.watch import metrics
from paylib.shop import open_shop
from stormslib.crowd import SETTLE_SECONDS, agree, ask, close, spread, total, until

# 5 % each: the effect without an answer, neither, half an answer, and an error after the effect.
RATES = {name: 0.05 for name in ("answer-lost", "effect-lost", "reset", "error-after-success")}
HANDS = 8
RESOLVED_SECONDS = 60.0


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int) -> dict:
    captures, refunds = orders * 3 // 10, orders // 10
    table.part(f"{orders:,} orders, {captures:,} captures and {refunds:,} refunds while 20 % of the answers say nothing")
    shop = open_shop(orderly, sim, work)
    shop.provider.set_faults({"rates": RATES, "seed": 7})
    began, till = time.time(), Till(shop.service, "ambiguous")
    till.sell(orders)
    sold_after = time.time() - began
    paid = some(shop, "AUTHORIZED", captures)
    rate = finished(shop) / (time.time() - began)
    act(shop, paid, "capture")
    taken = some(shop, "CAPTURED", refunds)
    act(shop, taken, "refund")
    struck = shop.provider.struck()
    healed = time.time()
    shop.provider.set_faults({})
    ends = dict.fromkeys(paid, "CAPTURED") | dict.fromkeys(taken, "REFUNDED")
    is_resolved = lambda order: order["payment_state"] in (ends.get(order["id"], "AUTHORIZED"), "PARKED")
    until(shop, "resolved", is_resolved, RESOLVED_SECONDS)
    resolved = time.time() - healed
    found = agree(table, shop)
    summary = shop.provider.summary()["successful"]
    parked = [order for order in found if order["payment_state"] == "PARKED"]
    table.none("orders and pays that failed", till.failed)
    table.claim("charges = orders that were paid", len(till.sold), summary["authorization"])
    table.claim("captures = those that were accepted", len(paid), summary["capture"])
    table.claim("refunds = those that were accepted", len(taken), summary["refund"])
    ours = total(found, "captured") - total(found, "refunded")
    table.claim("Σ captures − Σ refunds = Σ of the orders (minor)", ours, kept(shop))
    table.within("nothing unknown after the heal (s)", RESOLVED_SECONDS, round(resolved, 1))
    table.claim("orders that are parked", 0, len(parked), [order["id"] for order in parked])
    for name in RATES:
        table.at_least(f"{name}: answers struck", orders * 0.02, struck.get(name, 0))
    table.shown("orders placed and paid a second", round(orders / sold_after))
    table.shown("attempts settled a second, meanwhile", round(rate))
    close(shop)
    return {
        "orders": orders,
        "captures": len(paid),
        "refunds": len(taken),
        "struck": {name: struck.get(name, 0) for name in RATES},
        "parked": len(parked),
        "resolved_after_s": round(resolved, 1),
        "settled_per_s": round(rate),
    }


def kept(shop) -> int:
    """What the provider's ledger says was taken and not given back."""
    sums = [real["totals"] for real in shop.provider.payments().values()]
    return sum(int(one["captured"]["amount_minor"]) - int(one["refunded"]["amount_minor"]) for one in sums)


def some(shop, money: str, count: int) -> list[str]:
    """So many orders whose money is there, once there are as many."""
    limit = time.monotonic() + SETTLE_SECONDS
    while True:
        orders = all_orders(shop.service).values()
        if len(found := [order["id"] for order in orders if order["payment_state"] == money]) >= count:
            return found[:count]
        if time.monotonic() > limit:
            raise Failed(f"{len(found)} of {count} orders are {money} after {SETTLE_SECONDS} s")
        time.sleep(0.2)


def act(shop, ids: list[str], verb: str) -> None:
    clients = [shop.service.client() for _ in range(HANDS)]
    refused = []

    def one(hand: int, order: str) -> None:
        answer = ask(clients[hand], order, verb, f"{verb}-{order}", {})
        if answer.status != 202:
            refused.append(f"{order}: {answer}")

    spread(ids, HANDS, one)
    if refused:
        raise Failed(f"{verb} is refused: {refused[0]}")


def finished(shop) -> float:
    told = metrics(shop.service)
    return sum(value for series, value in told.items() if "tasks_total{" in series and 'outcome="finished"' in series)
