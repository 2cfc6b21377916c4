"""Kafka goes away: a broker is killed, then all of them; orders are taken all the while, and each change is told."""

import threading
import time

from clusterlib.consumers import EVENTS, STATE, Consumers, judge_events, judge_state
from clusterlib.brokers import Brokers
from clusterlib.load import Load
from clusterlib.stage import Replica, Stage, until
from crashlib.table import Table
from pglib import Postgres

TITLE = "Kafka: a broker is killed, then all are away for {outage:.0f} s, under load"


def run(table: Table, orderly: str, work, *, outage: float, rate: float, steady: float) -> dict:
    consumers = Consumers()
    brokers = Brokers(work / "brokers")
    with Postgres() as postgres:
        brokers.start()
        stage = Stage(orderly, work, postgres, brokers)
        replicas = stage.replicas(front="api", middle="api,relay,worker", back="relay")
        apis = [replicas[0].port, replicas[1].port]
        load = Load("kafka", apis, stage.token, clients=12, rate=rate).start()
        watch = Watch(replicas)
        watch.start()
        try:
            figures = hurt(stage, brokers, load, watch, outage=outage, steady=steady)
        finally:
            load.stop()
        until("all that is committed is told", 60, lambda: stage.unpublished() == 0)
        figures["lag_at_the_end"] = lag_at_the_end(replicas)
        watch.stop()
        events, states = (consumers.read(stage, topic, kind) for topic, kind in ((EVENTS, "events"), (STATE, "state")))
        results = judge(table, stage, load, watch, figures, outage, rate)
        results |= judge_events(table, stage, events)
        judge_state(table, stage, states)
        table.none("what the audit finds", stage.findings())
        for replica in replicas:
            table.claim(f"exit code of the replica that is {replica.roles}", 0, replica.stop())
        brokers.kill()
    return results


def hurt(stage: Stage, brokers: Brokers, load: Load, watch: "Watch", *, outage: float, steady: float) -> dict:
    """Does it all, and tells what was seen."""
    time.sleep(steady)
    brokers.kill(0)
    # What was on its way before has arrived or failed by then.
    time.sleep(steady)
    before = stage.published()
    until("events are told without one broker", 30, lambda: stage.published() > before)
    brokers.start()
    committed = stage.published() + stage.unpublished()
    until("the backlog of the one broker is gone", 60, lambda: stage.published() >= committed)

    watch.lag = 0.0
    left = time.monotonic()
    brokers.kill()
    at = stage.published()
    time.sleep(outage)
    waiting, told = stage.unpublished(), stage.published() - at
    lag_seen = watch.lag
    began = time.monotonic()
    # Two are enough to take records.
    brokers.start(2)
    serving = time.monotonic()
    until("the backlog is gone", 10 * outage + 60, lambda: stage.published() >= at + told + waiting)
    gone = time.monotonic()
    brokers.start()
    time.sleep(steady)
    return {
        "waiting": waiting,
        "told_meanwhile": told,
        "lag_seen": lag_seen,
        "taken_in_outage": sum(left < answered < began for answered in list(load.answered_at)),
        "brokers_took_s": round(serving - began, 1),
        "backlog_gone_s": round(gone - serving, 1),
    }


def lag_at_the_end(replicas: list[Replica]) -> float:
    """What whoever leads tells of the lag, once it is 0 or a while has passed; less than 0 when nobody tells."""
    lag = -1.0
    for _ in range(100):
        told = [replica.metric("relay_lag_events") for replica in replicas if replica.leads()]
        lag = max((found for found in told if found is not None), default=-1.0)
        if lag == 0:
            break
        time.sleep(0.1)
    return lag


def judge(
    table: Table, stage: Stage, load: Load, watch: "Watch", figures: dict, outage: float, rate: float
) -> dict:
    table.none("failed requests", load.failed)
    table.none("acknowledged orders that are not there, or there twice", missing_or_twice(stage, load))
    table.none("times when a replica was not ready", watch.unready)
    table.at_least("requests answered well while no broker was there", round(0.9 * rate * outage), figures["taken_in_outage"])
    table.at_least("events that waited at the end of the outage", 1, figures["waiting"])
    # Those that the brokers had acknowledged just before.
    table.shown("events noted as told while no broker was there", figures["told_meanwhile"])
    table.at_least("greatest lag that the metric told meanwhile", figures["waiting"] * 0.5, figures["lag_seen"])
    table.claim("lag that the metric tells at the end", 0, figures["lag_at_the_end"])
    table.shown("two brokers served again after (s)", figures["brokers_took_s"])
    table.within("the backlog was gone after that in (s)", outage / 2, figures["backlog_gone_s"])
    table.shown("slowest request (s)", round(load.slowest, 2))
    return {"requests": load.requests, "failed": len(load.failed), "outage_s": outage, **figures}


def missing_or_twice(stage: Stage, load: Load) -> list[str]:
    """Keys whose order was acknowledged and is not in the store, and keys of more than one."""
    there = dict(stage.sql("SELECT create_key, id FROM orders"))
    count = stage.number("SELECT count(*) FROM orders")
    lost = [key for key, order in load.created.items() if there.get(key) != order]
    return lost + [f"{count - len(there)} orders too many"] * (count != len(there))


class Watch(threading.Thread):
    """Asks every replica, all the while, whether it is ready, and the leader for its lag."""

    def __init__(self, replicas: list[Replica]) -> None:
        super().__init__(daemon=True)
        self.replicas, self.ended = replicas, threading.Event()
        self.unready: list[str] = []
        self.lag = 0.0

    def run(self) -> None:
        while not self.ended.wait(0.2):
            for replica in self.replicas:
                if (status := replica.readyz()) != 200:
                    self.unready.append(f"{replica.roles}: {status}")
                if "relay" in replica.roles and replica.leads():
                    self.lag = max(self.lag, replica.metric("relay_lag_events") or 0.0)

    def stop(self) -> None:
        self.ended.set()
        self.join(30)
