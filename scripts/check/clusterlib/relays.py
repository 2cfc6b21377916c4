"""Two relays fight for the lead: one is stopped in mid-send, the other takes over, and the first wakes up again."""

import time

from clusterlib.brokers import Brokers
from clusterlib.consumers import EVENTS, STATE, Consumers, judge_events, judge_state
from clusterlib.load import Load
from clusterlib.outages import missing_or_twice
from clusterlib.stage import Replica, Stage, until
from crashlib.service import Failed
from crashlib.table import Table
from pglib import Postgres

TITLE = "Relays: {trials} times the one that leads is stopped in mid-send and loses the lead"
# Tries to catch the leader with something under way, for each trial.
CATCHES = 200


def run(table: Table, orderly: str, work, *, trials: int, rate: float) -> dict:
    consumers = Consumers()
    brokers = Brokers(work / "brokers")
    with Postgres() as postgres:
        brokers.start()
        stage = Stage(orderly, work, postgres, brokers)
        front, *relays = stage.replicas(front="api", one="relay", other="relay")
        load = Load("relays", [front.port], stage.token, clients=8, rate=rate).start()
        waiting, took = [], []
        try:
            for _ in range(trials):
                under_way, seconds = fight(stage, relays)
                waiting.append(under_way)
                took.append(seconds)
        finally:
            load.stop()
        until("all that is committed is told", 60, lambda: stage.unpublished() == 0)
        events, states = (consumers.read(stage, topic, kind) for topic, kind in ((EVENTS, "events"), (STATE, "state")))
        table.none("failed requests", load.failed)
        table.none("acknowledged orders that are not there, or there twice", missing_or_twice(stage, load))
        table.shown("events under way when the leader was stopped, the fewest", min(waiting))
        table.shown("the other published on after (s), the longest", round(max(took), 1))
        results = {"trials": trials, "under_way_min": min(waiting), "takeover_max_s": round(max(took), 1)}
        results |= {"requests": load.requests} | judge_events(table, stage, events)
        # Without any, no two of them ever had the same in hand.
        table.at_least("events told twice", 1, results["repeated"])
        judge_state(table, stage, states)
        table.none("what the audit finds", stage.findings())
        for replica in [front, *relays]:
            table.claim(f"exit code of the replica that is {replica.roles}", 0, replica.stop())
        brokers.kill()
    return results


def fight(stage: Stage, relays: list[Replica]) -> tuple[int, float]:
    """Stops the leader with events under way, lets the other take over, and wakes the first."""
    until("one relay leads", 30, lambda: sum(relay.leads() for relay in relays) == 1 and stage.lead_holders())
    leader = next(relay for relay in relays if relay.leads())
    other = next(relay for relay in relays if relay is not leader)
    under_way = catch(stage, leader)
    try:
        began = time.monotonic()
        for pid in stage.lead_holders():
            stage.sql(f"SELECT pg_terminate_backend({pid})")
        until("the other relay leads", 30, other.leads)
        at = stage.published()
        until("the other relay publishes", 30, lambda: stage.published() > at)
        seconds = time.monotonic() - began
    finally:
        leader.resume()
    # It learns that it leads no more, and what it still had under way comes late or not at all.
    until("the first relay gives up", 30, lambda: leader.metric("relay_leading") == 0)
    return under_way, seconds


def catch(stage: Stage, leader: Replica) -> int:
    """Stops the leader at an instant when events wait to be told; tells how many."""
    for turn in range(CATCHES):
        time.sleep(0.005 * (turn % 7))
        leader.pause()
        # They have their place in the feed and are not noted as told: the leader has them in hand.
        if under_way := stage.placed() - stage.published():
            return under_way
        leader.resume()
    raise Failed("the leader was never caught with events under way")
