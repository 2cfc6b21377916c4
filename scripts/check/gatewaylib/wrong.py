"""Part 2: a provider that answers wrongly: late, never, with lies, elsewhere, or with a gigabyte."""

import time
from pathlib import Path

from crashlib.service import Failed
from crashlib.table import Table
from gatewaylib.liar import LIES, Liar
from gatewaylib.outage import judge
from paylib.provider import Provider
from paylib.shop import Shop
from paylib.till import Till, all_orders
from paylib.watch import Watch, rss_mib

FAULTS = ["hang", "slow-drip", "lie-amount", "lie-currency", "lie-key", "redirect", "huge-answer", "reset", "burst-429"]
# No lies: what is decided meanwhile, because a try got past it, is true.
HONEST = ("hang", "slow-drip", "reset", "burst-429")
MANY = 100_000
LEAST_STRUCK = 3
# Answers are read up to 64 KiB, and 64 calls are made at a time.
RSS_MIB = 32.0
SETTLE_SECONDS = 90


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int, seconds: float) -> dict:
    table.part(f"every answer is wrong for {seconds:.0f} s, look-ups included, while {orders} orders are paid")
    provider = Provider(sim, work / "provider", ["faults.hang=5s", "faults.drip=100ms"])
    provider.start()
    shop = Shop(orderly, provider, work / "shop", ("gateway.client.try_timeout=1s",))
    shop.start()
    Till(shop.service, "warm").sell(20)
    results, sold = {}, 20
    for fault in FAULTS:
        until_paid(shop)
        plan = [{"faults": [fault], "count": MANY}, {"faults": [fault], "kind": "lookup", "count": MANY}]
        provider.set_faults({"next": plan})
        results[fault] = endure(table, shop, fault, orders, seconds, lambda: provider.set_faults({}))
        sold += orders
        table.at_least(f"{fault}: it struck", LEAST_STRUCK, provider.struck().get(fault, 0))
    until_paid(shop)
    table.claim("redirects that were followed", 0, provider.redirects_followed())
    judge(table, shop, all_orders(shop.service), provider.payments(), sold)
    shop.end()
    results |= lies(table, orderly, provider, work / "lies", orders, seconds)
    results["parked"] = forgotten(table, orderly, provider, work / "forgotten", orders)
    provider.kill()
    return results


def lies(table: Table, orderly: str, provider: Provider, work: Path, orders: int, seconds: float) -> dict:
    """The same with a liar between the service and the provider."""
    liar, results = Liar(provider.port), {}
    shop = Shop(orderly, provider, work, (f"gateway.client.base_url=http://127.0.0.1:{liar.port}",))
    before = provider.summary()["successful"]["authorization"]
    shop.start()
    for lie in LIES:
        liar.lie = lie

        def heal() -> None:
            liar.lie = ""

        results[lie] = endure(table, shop, lie, orders, seconds, heal)
        until_paid(shop)
    made = provider.summary()["successful"]["authorization"] - before
    table.claim("charges under lies = pays that were accepted", orders * len(LIES), made)
    table.none("what the audit found", shop.service.findings())
    shop.end()
    liar.close()
    return results


def forgotten(table: Table, orderly: str, provider: Provider, work: Path, orders: int) -> dict:
    """Requests and their answers are lost, and the provider no longer knows the keys: nobody but a person can say."""
    # Without a breaker, which would rightly let one after the other through, and take minutes.
    never = ("gateway.client.breaker.consecutive_failures=0", "gateway.client.breaker.failure_ratio=2.0")
    shop = Shop(orderly, provider, work, ("gateway.key_window=1s", *never))
    shop.start()
    charges = provider.summary()["successful"]["authorization"]
    provider.set_faults({"next": [{"faults": ["effect-lost"], "count": MANY}]})
    Till(shop.service, "forgotten").sell(orders)
    found = until(shop, "PARKED")
    provider.set_faults({})
    histories = [shop.ask("GET", f"/v1/orders/{order}/history").json() for order in found]
    silent = [order for order, told in zip(found, histories) if not told["entries"][-1].get("reason")]
    table.claim("keys forgotten: orders that are parked", orders, len(found))
    table.none("keys forgotten: parked without a reason in the history", silent)
    table.claim("keys forgotten: charges", 0, provider.summary()["successful"]["authorization"] - charges)
    table.none("what the audit found", shop.service.findings())
    shop.end()
    return {"orders": orders, "parked": len(found)}


def endure(table: Table, shop: Shop, name: str, orders: int, seconds: float, heal) -> dict:
    """Sells while the provider is wrong, looks at what was decided, and waits for the right end."""
    watch, before = Watch(shop.service), rss_mib(shop.service)
    watch.start()
    till = Till(shop.service, name.replace(" ", "-"))
    till.sell(orders, hands=4)
    time.sleep(seconds)
    ours = {one.id for one in till.sold}
    decided = [order for order in all_orders(shop.service).values() if order["id"] in ours and order["payment_state"] in ("AUTHORIZED", "DECLINED")]
    heal()
    took = until_paid(shop)
    watch.stop()
    grown = round(watch.rss - before, 1)
    table.none(f"{name}: orders and pays that failed", till.failed)
    if name not in HONEST:
        table.none(f"{name}: outcomes that were guessed", [order["id"] for order in decided])
    table.within(f"{name}: all paid after it ended (s)", 60.0, round(took, 1))
    table.within(f"{name}: memory grown (MiB)", RSS_MIB, grown)
    return {"orders": orders, "paid_after_s": round(took, 1), "memory_grown_mib": grown}


def until_paid(shop: Shop) -> float:
    """Waits until every order is paid; tells the seconds."""
    began = time.monotonic()
    until(shop, "AUTHORIZED")
    return time.monotonic() - began


def until(shop: Shop, money: str) -> list[str]:
    """Waits until the money of every order is there."""
    limit = time.monotonic() + SETTLE_SECONDS
    while True:
        orders = all_orders(shop.service)
        left = [order for order in orders.values() if order["payment_state"] != money]
        if not left:
            return list(orders)
        if time.monotonic() > limit:
            raise Failed(f"{len(left)} orders are not {money} after {SETTLE_SECONDS} s, such as {left[0]['id']}: {left[0]['payment_state']}")
        time.sleep(0.2)
