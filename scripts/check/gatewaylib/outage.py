"""Part 1: the provider dies, or freezes, under a steady load, and comes back."""

import threading
import time
from pathlib import Path

from crashlib.service import Failed
from crashlib.table import Table
from paylib.provider import Provider, disagreements
from paylib.shop import Shop
from paylib.till import Till, all_orders, whole
from paylib.watch import Watch, calls, metrics, tries

RATE = 20
NORMAL_SECONDS = 40
# A try may take two seconds before it counts as failed; one that finds nobody fails at once.
OPENS = {"killed": 1.0, "frozen": 3.0}
# The service begins this many tasks at a time, and each may have been at its call.
IN_HAND = 64
SPIKE = 1.5
RESOLVED_SECONDS = 60
SETTLE_SECONDS = 420


def run(table: Table, orderly: str, sim: str, work: Path, *, how: str, seconds: float, normal: float) -> dict:
    table.part(f"the provider is {how} for {seconds:.0f} s while {RATE} orders a second are placed and paid")
    provider = Provider(sim, work / "provider")
    provider.start()
    shop = Shop(orderly, provider, work / "shop")
    shop.start()
    till, stopping = Till(shop.service, how), threading.Event()
    hands = till.sell_steadily(RATE, stopping)
    time.sleep(normal)
    watch, before = Watch(shop.service), time.time()
    usual = calls(provider.log, before - normal / 2)
    usual_rate = sum(usual[second] for second in range(int(normal / 2))) / int(normal / 2)
    watch.start()
    before_tries, died, sold_before = tries(metrics(shop.service)), time.time(), len(till.sold)
    provider.kill() if how == "killed" else provider.freeze()
    time.sleep(seconds)
    during, sold_during = tries(metrics(shop.service)) - before_tries, len(till.sold) - sold_before
    healed = time.time()
    provider.start() if how == "killed" else provider.thaw()
    unknown_then = doubtful(shop, RESOLVED_SECONDS - (time.time() - healed))
    settled = until_settled(shop, till, healed)
    # A little more, so that the end of catching up is seen as well.
    time.sleep(5)
    stopping.set()
    for hand in hands:
        hand.join()
    until_settled(shop, till, healed)
    watch.stop()
    seen = calls(provider.log, healed)
    most = max(seen[second] for second in range(int(time.time() - healed) - 5))
    orders, ledger = all_orders(shop.service), provider.payments()
    opened = watch.opened_at - died if watch.opened_at else float("inf")
    table.none("orders and pays that failed", till.failed)
    # Else nothing that follows says anything.
    table.at_least("usual calls a second", RATE * 0.9, round(usual_rate, 1))
    table.at_least("tries while it was away", 1, during)
    table.at_least("pays accepted while it was away", int(seconds * RATE * 0.9), sold_during)
    table.within("breaker open after that (s)", OPENS[how], round(opened, 2))
    table.within("tries in that time: those in hand, and one a second", IN_HAND + seconds, during)
    table.within(f"calls in the busiest second after, of {usual_rate:.1f} usual ones", round(SPIKE * usual_rate, 1), most)
    table.none(f"unknown {RESOLVED_SECONDS} s after the heal", unknown_then)
    judge(table, shop, orders, ledger, len(till.sold))
    table.shown("settled again after (s)", round(settled, 1))
    table.shown("memory, most (MiB)", round(watch.rss, 1))
    shop.end()
    provider.kill()
    return {
        "seconds": seconds,
        "rate": RATE,
        "usual_calls_per_s": round(usual_rate, 1),
        "orders": len(till.sold),
        "failed": len(till.failed),
        "breaker_open_after_s": round(opened, 2),
        "tries_while_away": during,
        "busiest_second_after": most,
        "unknown_60_s_after": len(unknown_then),
        "settled_after_s": round(settled, 1),
    }


def doubtful(shop: Shop, wait: float) -> list[str]:
    """The orders with an unknown outcome after that time."""
    time.sleep(max(0.0, wait))
    return [order["id"] for order in all_orders(shop.service).values() if order["payment_state"] == "UNKNOWN"]


def until_settled(shop: Shop, till: Till, healed: float) -> float:
    """Waits until what was sold is paid but for what was sold this second; tells the seconds since the heal."""
    while True:
        sold = len([one for one in list(till.sold) if one.at < time.time() - 1])
        if shop.provider.summary()["successful"]["authorization"] >= sold:
            return time.time() - healed
        if time.time() - healed > SETTLE_SECONDS:
            raise Failed(f"not settled {SETTLE_SECONDS} s after the heal")
        time.sleep(0.5)


def judge(table: Table, shop: Shop, orders: dict, ledger: dict, sold: int) -> None:
    """Every order is paid once, and the ledger, the orders and the audit agree."""
    states = [f"{order['id']} {order['payment_state']}" for order in orders.values() if order["payment_state"] != "AUTHORIZED"]
    table.none("orders that are not paid", states)
    table.claim("charges = pays that were accepted", sold, sum(one["successful"]["authorization"] for one in ledger.values()))
    table.none("sums of orders and ledger that differ", [w for order in whole(shop.service, orders) for w in disagreements(order, ledger)])
    table.claim("effects that were doubled", 0, shop.provider.summary()["references_doubled"])
    table.none("what the audit found", shop.service.findings())
