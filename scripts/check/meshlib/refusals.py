"""What Envoy makes of each refusal: which it tries again and when, and what takes a replica out."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clusterlib.stage import until
from crashlib.table import Table
from meshlib import ask
from meshlib.envoys import Mesh
from meshlib.scene import Scene, fresh
from meshlib.stub import Gone, Stub, Try

TITLE = "Refusals: what is tried again, and what takes a replica out"
EJECTED = "cluster.orders.outlier_detection.ejections_enforced_total"
# What a replica says itself is no reason to take it out, however often in a row: 503 is how a healthy one refuses.
REFUSALS, IN_A_ROW = (429, 500, 501, 503, 504, 507), 20
# With half of them at the one that is gone, more than it takes in a row.
AT_ONCE, OK_AFTERWARDS = 16, 20


def run(table: Table, scene: Scene, *, gone: tuple[str, ...]) -> dict:
    stubs = [Stub(), Stub()]
    mesh = Mesh(scene.stage.work / "stubs", [(stub.port, stub.port) for stub in stubs]).start()
    try:
        asked = tried_again(table, mesh, stubs)
        asked += refused(table, mesh, stubs)
    finally:
        mesh.stop()
    # Without this, that nothing was ejected would say nothing of Envoy.
    return {"requests": asked + sum(ejected(table, scene.stage.work / "gone", how) for how in gone)}


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


def refused(table: Table, mesh: Mesh, stubs: list[Stub]) -> int:
    """One replica refuses all that it is asked, the other one nothing."""
    asked = 0
    for status in REFUSALS:
        stubs[0].answer = lambda path, tries, status=status: status
        stubs[1].answer = lambda path, tries: 200
        # They take turns. Were it taken out, it would give only so many as that takes.
        answers = [ask.http(mesh.near, "POST", f"/{fresh('row')}").status for _ in range(2 * IN_A_ROW)]
        asked += len(answers)
        table.at_least(f"{status} in a row by one replica: its answers", IN_A_ROW // 2, answers.count(status))
    # Ejection is decided as an answer comes, and once more every second.
    time.sleep(1.5)
    table.claim("replicas that these took out", 0, mesh.count("far", EJECTED))
    return asked


def ejected(table: Table, work: Path, how: str) -> int:
    """One replica is gone, though it says that it is ready."""
    ready, good, asked = Stub(), Stub(), 0
    mesh = Mesh(work, [(Gone(how).port, ready.port), (good.port, good.port)]).start()

    def status(_: int = 0) -> int:
        return ask.http(mesh.near, "POST", f"/{fresh(how)}").status

    def is_out() -> bool:
        nonlocal asked
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked += len(list(pool.map(status, range(AT_ONCE))))
        return mesh.count("far", EJECTED) > 0

    try:
        until(f"the replica that {how} is taken out", 30, is_out)
        statuses = [status() for _ in range(OK_AFTERWARDS)]
        table.claim(f"a replica that {how}: taken out", 1, mesh.count("far", EJECTED))
        table.claim("… requests served by the other one after that", OK_AFTERWARDS, statuses.count(200))
    finally:
        mesh.stop()
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
