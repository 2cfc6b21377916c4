"""Part 5: how many attempts the worker settles in a second. Told, not judged."""

import time
from pathlib import Path

from crashlib.service import Failed
from crashlib.table import Table
from paylib.till import Till
from paylib.shop import open_shop
from stormslib.crowd import agree, close, until


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int) -> dict:
    table.part(f"{orders:,} pays wait when the service starts, and nothing else is to do")
    shop = open_shop(orderly, sim, work)
    shop.provider.freeze()
    till = Till(shop.service, "speed")
    till.sell(orders)
    shop.service.kill()
    shop.provider.thaw()
    # What had reached the provider is carried out before the clock starts.
    time.sleep(1)
    done = shop.provider.summary()["successful"]["authorization"]
    shop.start()
    began = time.monotonic()
    while (now := shop.provider.summary()["successful"]["authorization"]) < len(till.sold):
        if time.monotonic() - began > 120:
            raise Failed("the pays are not settled after 120 s")
        time.sleep(0.05)
    rate = (now - done) / (time.monotonic() - began)
    until(shop, "paid", lambda order: order["payment_state"] == "AUTHORIZED")
    agree(table, shop)
    table.none("orders and pays that failed", till.failed)
    table.shown("attempts settled a second", round(rate))
    close(shop)
    return {"orders": orders, "settled_per_s": round(rate)}
