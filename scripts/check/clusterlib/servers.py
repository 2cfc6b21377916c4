"""PostgreSQL itself goes away under load: restarted, crashed, and replaced by its standby."""

import time

from clusterlib.load import Load
from clusterlib.outages import missing_or_twice
from clusterlib.stage import Replica, Stage, until
from crashlib.table import Table, percentile
from pglib import Postgres

TITLE = "PostgreSQL: {restarts} restarts and crashes, then {promotions} promotions of a synchronous standby, under load"
CLIENTS, RATE, PATIENCE = 12, 300.0, 60.0
STEADY = 2.0


def run(table: Table, orderly: str, work, *, restarts: int, promotions: int) -> dict:
    restarted = restart(table, orderly, work / "restart", restarts)
    promoted = promote(table, orderly, work / "promote", promotions)
    return {"requests": restarted["requests"] + promoted["requests"], "restart": restarted, "promote": promoted}


def restart(table: Table, orderly: str, work, restarts: int) -> dict:
    with Postgres() as postgres:
        stage = Stage(orderly, work, postgres)
        replicas = stage.replicas(first="all", second="all")
        load, returns = begin(stage, replicas), []
        for number in range(restarts):
            time.sleep(STEADY)
            (postgres.kill if number % 2 else postgres.stop)()
            time.sleep(1.0)
            postgres.start()
            returns.append(first_success(load, time.monotonic()))
        result = judge(table, "restarts", stage, replicas, load)
    table.within("restarts: first success after the return, most (s)", 2.0, max(returns))
    return {**result, "first_success_max_s": max(returns)}


def promote(table: Table, orderly: str, work, promotions: int) -> dict:
    results, firsts = [], []
    for number in range(promotions):
        with Postgres() as primary, primary.standby() as standby:
            primary.set("synchronous_standby_names", "*")
            following = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            until("the standby is synchronous", 60, lambda: primary.sql(following) == "1")
            stage = Stage(orderly, work / str(number), primary, standby=standby)
            replicas = stage.replicas(first="all", second="all")
            load = begin(stage, replicas)
            time.sleep(STEADY)
            primary.kill()
            standby.promote()
            firsts.append(first_success(load, time.monotonic()))
            time.sleep(STEADY)
            # What is asked from here on is asked of the server that is left.
            stage.postgres = standby
            results.append(judge(table, f"promotion {number + 1}", stage, replicas, load))
    table.within("promotions: first success after it, most (s)", 5.0, max(firsts))
    total = {name: sum(result[name] for result in results) for name in ("requests", "orders", "refusals")}
    return {**total, "trials": promotions, "first_success_max_s": max(firsts)}


def begin(stage: Stage, replicas: list[Replica]) -> Load:
    ports = [replica.port for replica in replicas]
    return Load("servers", ports, stage.token, clients=CLIENTS, rate=RATE, patience=PATIENCE).start()


def first_success(load: Load, since: float) -> float:
    """How long after an instant the first request was answered well."""
    until("a request succeeds", 60, lambda: load.answered_at and load.answered_at[-1] > since)
    return round(next(at for at in list(load.answered_at) if at > since) - since, 3)


def judge(table: Table, name: str, stage: Stage, replicas: list[Replica], load: Load) -> dict:
    time.sleep(STEADY)
    load.stop()
    table.none(f"{name}: requests that failed, asked again for {PATIENCE:.0f} s", load.failed)
    table.none(f"{name}: acknowledged orders lost, or there twice", missing_or_twice(stage, load))
    table.none(f"{name}: what the audit finds", stage.findings())
    table.at_least(f"{name}: requests answered", 1, load.requests)
    table.at_least(f"{name}: refusals meanwhile", 1, len(load.refusals))
    p99 = round(percentile(load.refusals, 0.99), 3)
    table.shown(f"{name}: p99 of a refusal (s)", p99)
    ended = [replica.work.name for replica in replicas if replica.process.poll() is not None]
    table.none(f"{name}: processes of ours that ended", ended)
    for replica in replicas:
        table.claim(f"{name}: exit code of {replica.work.name} when asked to end", 0, replica.stop())
    return {"requests": load.requests, "orders": len(load.created), "refusals": len(load.refusals), "refusal_p99_s": p99}
