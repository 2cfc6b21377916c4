"""A rolling deploy behind the mesh: no client sees a failure, nothing takes effect twice, and no event is passed over."""

from types import SimpleNamespace

from clusterlib.load import Load
from clusterlib.outages import missing_or_twice
from clusterlib.stage import until
from crashlib.table import Table
from meshlib.calls import Calls
from meshlib.feed import Feed
from meshlib.scene import Scene

TITLE = "Drains: {drains} SIGTERMs, of one replica after the other, under load"
CLIENTS, RATE = 8, 120.0
VERSIONS = "SET orderly.tenant = '*'; SELECT count(*) FROM history"


def run(table: Table, scene: Scene, *, drains: int) -> dict:
    stage, mesh = scene.stage, scene.mesh
    before, versions = mesh.count("near", "cluster.orders.upstream_rq_retry"), stage.number(VERSIONS)
    feed, calls = Feed(scene), Calls(scene, mesh.near, "load", "calls")
    feed.start()
    load = Load("mesh", [mesh.near], stage.token, clients=CLIENTS, rate=RATE).start()
    try:
        done, exits = roll(scene, load, feed, drains)
    finally:
        load.stop()
    called = SimpleNamespace(**calls.told())
    feed.until_told()
    retries = mesh.count("near", "cluster.orders.upstream_rq_retry") - before
    table.none("failed requests", load.failed)
    table.none("failed calls of gRPC", called.failed)
    table.none("what befell the live feed", feed.failed)
    table.none("acknowledged orders that are not there, or there twice", missing_or_twice(stage, load))
    table.none("those acknowledged over gRPC that are not", missing_or_twice(stage, called))
    # Each request is one change under one key, and each change one version.
    changes = load.requests + len(called.created)
    table.claim("versions committed, for the requests answered", changes, stage.number(VERSIONS) - versions)
    table.none("events that the live feed skipped or told twice", feed.skipped_or_twice())
    table.none("what the audit finds", stage.findings())
    table.none("stops that did not end well", exits)
    table.claim("drains", drains, done)
    table.at_least("requests answered", 10 * drains, load.requests)
    table.at_least("calls of gRPC answered", 10 * drains, len(called.created))
    # A feed of the replica that stops goes on at the other one, which is the next to stop.
    table.at_least("drains that the live feed was told of", drains - 1, feed.drained)
    table.at_least("events that the live feed told", changes, len(feed.told))
    table.shown("tries that the client's side made again", retries)
    table.shown("calls that were answered as a second try", called.replayed)
    table.shown("connections to the mesh that closed before an answer", load.reused_closed)
    table.shown("slowest request (s)", round(load.slowest, 2))
    return {
        "requests": changes,
        "failed": len(load.failed) + len(called.failed),
        "orders": len(load.created) + len(called.created),
        "calls": len(called.created),
        "events": len(feed.told),
        "feeds": feed.opened,
        "drains": done,
        "tried_again": retries,
        "slowest_s": round(load.slowest, 2),
    }


def roll(scene: Scene, load: Load, feed: Feed, drains: int) -> tuple[int, list[str]]:
    """Stops and starts one replica after the other; how often, and which stops did not end well."""
    exits = []
    for number in range(drains):
        if load.failed or feed.failed:
            return number, exits
        replica = scene.replicas[number % len(scene.replicas)]
        if code := replica.stop():
            exits.append(f"{replica.work.name} ended with {code}")
        replica.start()
        replica.until_ready()
        # Whoever deploys waits until the mesh has learned of it, too.
        scene.mesh.until_well()
        answered = load.requests
        until("requests are answered", 30, lambda: load.requests > answered or load.failed)
    return drains, exits
