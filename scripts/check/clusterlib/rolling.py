"""A deploy: replicas behind a balancer that lags are restarted in turn, and the tables are migrated, under load."""

import subprocess
import sys
import time
from pathlib import Path

from clusterlib.load import Load
from clusterlib.outages import missing_or_twice
from clusterlib.stage import Replica, Stage, until
from crashlib.service import TIED, end, free_port, spawn
from crashlib.table import Table
from pglib import Postgres

TITLE = "Rolling restart: {requests:,} requests through a balancer that is told of readiness 2 s late"
LATE = 2.0
# Longer than the balancer lags, with what it takes to ask.
SETTINGS = ("lifecycle.lame_duck=4s",)
CLIENTS = 12


def run(table: Table, orderly: str, work, *, requests: int) -> dict:
    with Postgres() as postgres:
        stage = Stage(orderly, work, postgres, step=1)
        before = step(stage)
        replicas = [Replica(stage, f"replica-{number}", "all", SETTINGS) for number in range(3)]
        for replica in replicas:
            replica.start()
        for replica in replicas:
            replica.until_ready()
        port = free_port()
        balancer = balance(port, replicas)
        # Until the last of them is believed ready.
        time.sleep(LATE + 1)
        load = Load("rolling", [port], stage.token, clients=CLIENTS, rate=0).start()
        began = time.monotonic()
        try:
            restarts, exits = roll(stage, replicas, load, requests)
        finally:
            load.stop()
        seconds = time.monotonic() - began
        table.none("failed requests", load.failed)
        table.none("acknowledged orders that are not there, or there twice", missing_or_twice(stage, load))
        table.none("restarts that did not end well", exits)
        table.at_least("requests answered", requests, load.requests)
        table.at_least("restarts", len(replicas), restarts)
        table.claim("step of the tables before", 1, before)
        table.at_least("step of the tables after", 2, step(stage))
        table.none("what the audit finds", stage.findings())
        table.shown("reused connections that closed before an answer", load.reused_closed)
        table.shown("requests a second", round(load.requests / seconds))
        table.shown("slowest request (s)", round(load.slowest, 2))
        for replica in replicas:
            table.claim("exit code of a replica at the end", 0, replica.stop())
        end(balancer)
    return {
        "requests": load.requests,
        "failed": len(load.failed),
        "orders": len(load.created),
        "restarts": restarts,
        "reused_connections_closed": load.reused_closed,
        "requests_per_second": round(load.requests / seconds),
    }


def balance(port: int, replicas: list[Replica]) -> subprocess.Popen:
    backends = [f"{replica.port}:{replica.admin_port}" for replica in replicas]
    script = Path(__file__).parent / "balancer.py"
    return spawn([*TIED, sys.executable, script, port, LATE, *backends], stdin=subprocess.DEVNULL)


def roll(stage: Stage, replicas: list[Replica], load: Load, requests: int) -> tuple[int, list[str]]:
    """Restarts one replica after another until so many requests are answered; the tables are migrated once."""
    restarts, exits = 0, []
    while restarts < len(replicas) or load.requests < requests:
        if load.failed:
            break
        replica = replicas[restarts % len(replicas)]
        if code := replica.stop():
            exits.append(f"{replica.work.name} ended with {code}")
        if restarts == 1:
            # With one of them down, as a deploy does it. The others work on as they did on the older tables.
            stage.run("migrate")
        replica.start()
        replica.until_ready()
        restarts += 1
        # Whoever deploys waits until the balancer has learned of it, too.
        time.sleep(LATE + 0.5)
        answered = load.requests
        until("requests are answered", 30, lambda: load.requests > answered or load.failed)
    return restarts, exits


def step(stage: Stage) -> int:
    return stage.number("SELECT max(version) FROM refinery_schema_history")
