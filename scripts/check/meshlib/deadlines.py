"""A read that the database holds up ends by the far side's timeout, and it is the service that ends it."""

import subprocess
import time

from clusterlib.stage import Stage, until
from crashlib.service import TIED, end, spawn
from crashlib.table import Table
from meshlib import ask
from meshlib.scene import Scene, fresh
from pglib import program

TITLE = "Deadlines: {reads} reads over HTTP and over gRPC each, held up in the database"
# What the far side gives a request, in ms, and how late a client may learn of it.
TIMEOUT, LATEST = 1_000, 1.25
DEADLINE_EXCEEDED = 4


def run(table: Table, scene: Scene, *, reads: int) -> dict:
    order, took, asked = scene.place(), [], []
    own = {"http": [], "grpc": []}
    foreign, repeated = [], []
    with Locked(scene.stage):
        for number in range(2 * reads):
            request, began = fresh("held"), time.monotonic()
            headers = scene.headers(x_request_id=request)
            if number % 2:
                answer, protocol, wanted = ask.get_order(scene.mesh.near, order, headers), "grpc", DEADLINE_EXCEEDED
            else:
                answer, protocol, wanted = ask.http(scene.mesh.near, "GET", f"/v1/orders/{order}", headers), "http", 504
            took.append(time.monotonic() - began)
            asked.append(request)
            if answer.status != wanted:
                foreign.append(f"{protocol}: {answer.status} {answer.body[:80]!r}")
            tries = ask.logged(scene.replicas, request)
            if len(tries) != 1:
                repeated.append(f"{protocol}: {len(tries)}")
            line = tries[0]
            if line["status"] == 504 and line.get("code") == "deadline-exceeded" and line["duration_ms"] <= TIMEOUT:
                own[protocol].append(request)
        # The lock is still held: whoever reads on would be waiting for it.
        waiting = settled(scene.stage)
    for protocol, ended in own.items():
        name = f"reads over {protocol} that the service ended itself, in time"
        # On a machine that is busy with other things either side may be the first.
        if table.judges_time:
            table.claim(name, reads, len(ended))
        else:
            table.at_least(name, 1, len(ended))
    if table.judges_time:
        table.none("reads whose client was not told that the time is spent", foreign)
    table.none("reads that were tried again although their time was spent", repeated)
    table.claim("reads that go on in the database", 0, waiting)
    table.within("slowest answer (s)", LATEST, round(max(took), 3))
    table.shown("quickest answer (s)", round(min(took), 3))
    answer = ask.http(scene.mesh.near, "GET", f"/v1/orders/{order}", scene.headers())
    table.claim("status of a read after that", 200, answer.status)
    return {
        "requests": 2 * reads,
        "ended_by_the_service": sum(map(len, own.values())),
        "slowest_s": round(max(took), 3),
        "quickest_s": round(min(took), 3),
    }


def settled(stage: Stage) -> int:
    """How many of the service's sessions still wait for the lock, once none does or a while has passed."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'orderly' AND wait_event_type = 'Lock'"
    for _ in range(50):
        if not (waiting := stage.number(count)):
            return 0
        time.sleep(0.1)
    return waiting


class Locked:
    """The table of the orders, held by a session of its own: what reads it waits."""

    def __init__(self, stage: Stage) -> None:
        url = stage.postgres.admin_url(stage.database)
        command = [*TIED, program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url]
        self.session = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Locked":
        self.session.stdin.write("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT 'held';\n")
        self.session.stdin.flush()
        if self.session.stdout.readline().strip() != "held":
            raise SystemExit("the table of the orders cannot be locked")
        return self

    def __exit__(self, *_) -> None:
        self.session.stdin.close()
        until("the lock is given back", 10, lambda: self.session.poll() is not None)
        end(self.session)
