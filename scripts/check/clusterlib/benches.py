"""The store's own benchmark: two replicas with group commit against a transaction per order, in turns."""

import json
import statistics
import subprocess

from crashlib.service import TIED, Failed
from crashlib.table import Table
from lib import built
from pglib import Postgres

TITLE = "Store: two replicas, 64 callers, against a transaction per order with a pool of 20; {rounds} rounds of {seconds} s"
TIMES = 5.0


def run(table: Table, orderly: str, work, *, rounds: int, seconds: int) -> dict:
    del orderly, work
    program = built("orders-adapters", "example", "pg_bench", ["postgres"])
    with Postgres({"shared_buffers": "512MB", "max_wal_size": "4GB"}) as postgres:
        command = [program, "--admin", postgres.admin_url(), "--rounds", rounds, "--seconds", seconds]
        command += ["--server", postgres.process.pid]
        done = subprocess.run([*TIED, *map(str, command)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"pg_bench ended with {done.returncode}")
    measured = json.loads(done.stdout)["rounds"]
    sides = {side: [one[side] for one in measured] for side in measured[0]}
    for side, found in sides.items():
        name = side.replace("_", ", ").replace("transaction", "a transaction each")
        name = name.replace("swept", "a transaction each and the outbox swept")
        table.shown(f"{name} callers: orders a second", round(middle(found, "orders_per_second")))
        for figure in ("p50", "p99"):
            table.shown(f"{name} callers: {figure} (ms)", round(middle(found, f"{figure}_us") / 1_000, 2))
        for place in ("server", "client"):
            table.shown(f"{name} callers: {place} CPU an order (µs)", round(middle(found, f"{place}_cpu_us")))
        if "outbox_left" in found[0]:
            table.shown(f"{name} callers: events left in the outbox", round(middle(found, "outbox_left")))
    ratios = {callers: ratio(measured, "transaction", callers) for callers in (64, 1)}
    swept = ratio(measured, "swept", 64)
    if table.judges_time:
        table.at_least("64 callers: times the orders a second, median of rounds", TIMES, ratios[64]["median"])
    for figure in ("median", "least", "most"):
        table.shown(f"64 callers: times the orders a second, {figure}", ratios[64][figure])
    table.shown("64 callers: times the orders a second with the outbox swept, median", swept["median"])
    table.shown("a lone caller: times the orders a second, median", ratios[1]["median"])
    return {
        "rounds": measured,
        "ratios": ratios,
        "swept": swept,
        "orders_per_second": round(middle(sides["group_64"], "orders_per_second")),
    }


def middle(found: list[dict], figure: str) -> float:
    return statistics.median(one[figure] for one in found)


def ratio(measured: list[dict], rival: str, callers: int) -> dict:
    times = [
        round(one[f"group_{callers}"]["orders_per_second"] / one[f"{rival}_{callers}"]["orders_per_second"], 2)
        for one in measured
    ]
    return {"median": round(statistics.median(times), 2), "least": min(times), "most": max(times)}
