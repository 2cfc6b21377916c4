"""How fast one relay carries a backlog to Kafka, beside how fast the store took it."""

import json
import time

from clusterlib.brokers import Brokers
from clusterlib.stage import Stage, until
from crashlib.client import ORDER
from crashlib.table import Table
from pglib import Postgres

TITLE = "One relay: {orders:,} orders are imported while no relay runs, and then told"


def run(table: Table, orderly: str, work, *, orders: int) -> dict:
    brokers = Brokers(work / "brokers")
    with Postgres() as postgres:
        # The store first, without brokers that take its processors.
        stage = Stage(orderly, work / "before", postgres)
        lines = work / "orders.ndjson"
        with lines.open("w") as file:
            for number in range(orders):
                file.write(json.dumps({"idempotency_key": f"outrun-{number:016}", "order": json.loads(ORDER)}) + "\n")
        began = time.monotonic()
        stage.run("import", lines, "--tenant", "shop")
        stored = orders / (time.monotonic() - began)
        brokers.start()
        stage.with_topics(brokers)
        relay = stage.replicas(relay="relay")[0]
        # Told from the first round on: what comes before is the brokers' making of their own topics.
        until("the first events are told", 120, lambda: stage.published() > 0)
        began, at = time.monotonic(), stage.published()
        until("the backlog is told", 600, lambda: stage.published() >= orders)
        told = (orders - at) / (time.monotonic() - began)
        table.claim("committed events that are not told", 0, stage.unpublished())
        table.claim("exit code of the relay", 0, relay.stop())
        brokers.kill()
    table.shown("orders a second that the store took", round(stored))
    table.shown("events a second that one relay told, three brokers beside it", round(told))
    table.shown("times the store's", round(told / stored, 2))
    return {"orders": orders, "stored_per_second": round(stored), "told_per_second": round(told)}
