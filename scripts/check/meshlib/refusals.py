"""What Envoy makes of each refusal: which it tries again and when, and which takes a replica out."""

import time

from clusterlib.stage import until
from crashlib.table import Table
from meshlib import ask
from meshlib.envoys import Mesh
from meshlib.scene import Scene, fresh
from meshlib.stub import Stub, Try

TITLE = "Refusals: what is tried again, and what takes a replica out"
EJECTED = "cluster.orders.outlier_detection.ejections_enforced_total"
# Answers that say nothing of the health of a replica: more of them in a row than take one out.
HARMLESS, IN_A_ROW = (429, 500, 501, 507), 20
OK_AFTERWARDS = 20


def run(table: Table, scene: Scene) -> dict:
    stubs = [Stub(), Stub()]
    mesh = Mesh(scene.stage.work / "stubs", [(stub.port, stub.port) for stub in stubs]).start()
    try:
        asked = tried_again(table, mesh, stubs)
        asked += harmless(table, mesh, stubs)
        asked += ejected(table, mesh, stubs)
    finally:
        mesh.stop()
    return {"requests": asked}


def tried_again(table: Table, mesh: Mesh, stubs: list[Stub]) -> int:
    """The first answer to each path is a refusal, the next is none."""
    rows = (
        ("503 to a read", "GET", 503, {}, ["1", "2"]),
        ("503 to a change with a key", "POST", 503, {"idempotency-key": fresh("key")}, ["1", "2"]),
        ("503 to a change without one", "POST", 503, {}, ["1"]),
        ("504 to a read", "GET", 504, {}, ["1"]),
        ("429 to a read", "GET", 429, {}, ["1"]),
        ("500 to a change with a key", "POST", 500, {"idempotency-key": fresh("key")}, ["1"]),
    )
    for what, method, status, headers, attempts in rows:
        # Whichever of the two is asked again.
        first = Once(status)
        for stub in stubs:
            stub.answer = first
        path = f"/{fresh('once')}"
        answer = ask.http(mesh.near, method, path, headers)
        tries = seen(stubs, path)
        table.claim(f"{what}: status in the end", 200 if len(attempts) > 1 else status, answer.status)
        counted = [one.attempt for one in tries]
        table.claim(f"{what}: tries, each with its number", len(attempts), len(counted) if counted == attempts else 0)
        if len(tries) > 1:
            table.at_least(f"{what}: seconds of Retry-After that were waited", 1.0, round(tries[1].at - tries[0].at, 2))
    return len(rows)


def harmless(table: Table, mesh: Mesh, stubs: list[Stub]) -> int:
    before = mesh.count("far", EJECTED)
    for status in HARMLESS:
        for stub in stubs:
            stub.answer = lambda path, tries, status=status: status
        answers = [ask.http(mesh.near, "GET", f"/{fresh('row')}").status for _ in range(IN_A_ROW)]
        table.claim(f"{status} in a row: answers", IN_A_ROW, answers.count(status))
    # Ejection is decided as an answer comes, and once more every second.
    time.sleep(1.5)
    table.claim("replicas that these took out", 0, mesh.count("far", EJECTED) - before)
    return len(HARMLESS) * IN_A_ROW


def ejected(table: Table, mesh: Mesh, stubs: list[Stub]) -> int:
    """Without this, that nothing was ejected would say nothing of Envoy."""
    before, asked = mesh.count("far", EJECTED), 0
    stubs[0].answer = lambda path, tries: 503
    stubs[1].answer = lambda path, tries: 200

    def is_out() -> bool:
        nonlocal asked
        asked += 1
        ask.http(mesh.near, "POST", f"/{fresh('bad')}")
        return mesh.count("far", EJECTED) > before

    until("the replica that answers 503 is taken out", 30, is_out)
    statuses = [ask.http(mesh.near, "POST", f"/{fresh('good')}").status for _ in range(OK_AFTERWARDS)]
    table.claim("503 in a row: replicas that it took out", 1, mesh.count("far", EJECTED) - before)
    table.claim("requests served by the other one after that", OK_AFTERWARDS, statuses.count(200))
    return asked + OK_AFTERWARDS


class Once:
    """A refusal to the first try, wherever it goes, and none to the next."""

    def __init__(self, status: int) -> None:
        self.status, self.given = status, False

    def __call__(self, path: str, before: int) -> int:
        status, self.given = 200 if self.given else self.status, True
        return status


def seen(stubs: list[Stub], path: str) -> list[Try]:
    return sorted(one for stub in stubs for one in stub.tries if one.path == path)
