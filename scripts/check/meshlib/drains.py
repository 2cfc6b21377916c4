"""A rolling deploy behind the mesh: no client sees a failure, and nothing takes effect twice."""

from clusterlib.load import Load
from clusterlib.outages import missing_or_twice
from clusterlib.stage import until
from crashlib.table import Table
from meshlib.scene import Scene

TITLE = "Drains: {drains} SIGTERMs, of one replica after the other, under load"
CLIENTS, RATE = 8, 120.0


def run(table: Table, scene: Scene, *, drains: int) -> dict:
    stage, mesh = scene.stage, scene.mesh
    before, versions = mesh.count("near", "cluster.orders.upstream_rq_retry"), stage.number(VERSIONS)
    load = Load("mesh", [mesh.near], stage.token, clients=CLIENTS, rate=RATE).start()
    try:
        done, exits = roll(scene, load, drains)
    finally:
        load.stop()
    retries = mesh.count("near", "cluster.orders.upstream_rq_retry") - before
    table.none("failed requests", load.failed)
    table.none("acknowledged orders that are not there, or there twice", missing_or_twice(stage, load))
    # Each request is one change under one key, and each change one version.
    table.claim("versions committed, for the requests answered", load.requests, stage.number(VERSIONS) - versions)
    table.none("what the audit finds", stage.findings())
    table.none("stops that did not end well", exits)
    table.claim("drains", drains, done)
    table.at_least("requests answered", 10 * drains, load.requests)
    table.shown("tries that the client's side made again", retries)
    table.shown("connections to the mesh that closed before an answer", load.reused_closed)
    table.shown("slowest request (s)", round(load.slowest, 2))
    return {
        "requests": load.requests,
        "failed": len(load.failed),
        "orders": len(load.created),
        "drains": done,
        "tried_again": retries,
        "slowest_s": round(load.slowest, 2),
    }


VERSIONS = "SET orderly.tenant = '*'; SELECT count(*) FROM history"


def roll(scene: Scene, load: Load, drains: int) -> tuple[int, list[str]]:
    """Stops and starts one replica after the other; how often, and which stops did not end well."""
    exits = []
    for number in range(drains):
        if load.failed:
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
