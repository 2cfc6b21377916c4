"""Part 3: a sync that fails ends the service, and nothing is acknowledged after it.

A shim makes syncs fail and tells when each one began and ended. What the kernel does to unwritten pages after a real
failure it cannot do: so the acknowledgements are held against the shim's log, by time. One that was received without
a sync of the log that began after its request and succeeded before its answer was given on nothing.
"""

import json
import math
import os
import random
import subprocess
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

from crashlib.client import listed
from crashlib.service import Failed, Service, end
from crashlib.table import Table
from crashlib.writers import Acknowledged, Crew, judge, stored

SOURCE = Path(__file__).resolve().parents[1] / "fault.c"
EXIT_SECONDS = 1.0
WAIT_SECONDS = 60.0


class Fault(NamedTuple):
    """Which syncs fail, and how many on each descriptor; 0: all from then on."""

    title: str
    suffix: str
    times: int
    # A change whose own sync of the log succeeded is safe while the service finds out that it must end.
    grace: float = 0.0
    settings: tuple[str, ...] = ()


FAULTS = {
    "log": Fault("syncs of the log fail from an instant on", "-wal", 0),
    "log_once": Fault("a sync of the log fails once", "-wal", 1),
    # The smallest log: the store's file is synced when all of the log is moved, which under load happens at its limit.
    "store_once": Fault(
        "a sync of the store's file fails once, in a checkpoint",
        ".db",
        1,
        grace=0.1,
        settings=("store.wal_limit=1048576",),
    ),
}


class Sync(NamedTuple):
    began: float
    ended: float
    result: int
    file: str


class Outcome(NamedTuple):
    """What one failure led to."""

    unready_seconds: float
    exit_seconds: float
    code: int | None
    reason: str
    late: list[str]
    unsynced: list[str]


def run(table: Table, orderly: str, work: Path, seed: int, *, rounds: int) -> dict:
    shim = build(work.parent / "fault.so")
    results = {}
    for name, fault in FAULTS.items():
        table.part(f"{fault.title}, 8 writers, {rounds} times")
        chance, found, acknowledged = random.Random(f"errors/{name}/{seed}"), [], 0
        for number in range(rounds):
            service = shimmed(orderly, work / f"{name}-{number}", shim, fault, fault.settings)
            service.start()
            service.until_ready()
            crew = Crew(service, f"errors/{name}/{number}/{seed}")
            found.append(fail(service, crew, chance.uniform(0.5, 1.0), fault.grace))
            quiet = Quiet()
            acknowledged += recover(quiet, service, crew)
            for failure in quiet.failures:
                table.none(f"after restart {number + 1}: {failure}", [failure])
        unready, exits = max(o.unready_seconds for o in found), max(o.exit_seconds for o in found)
        silent = [f"round {number}" for number, outcome in enumerate(found, 1) if not outcome.reason]
        table.none("acknowledgements whose sync failed, or was never made", [k for o in found for k in o.unsynced])
        later = f" + {fault.grace} s" if fault.grace else ""
        table.none(f"acknowledgements of requests sent after the failure{later}", [k for o in found for k in o.late])
        table.none("exits with code 0, or none at all", [str(o.code) for o in found if not o.code])
        table.none("exits without a line in the log that says why", silent)
        table.within("unready after the failure, most (s)", EXIT_SECONDS, round(unready, 3))
        table.within("exit after the failure, most (s)", EXIT_SECONDS, round(exits, 3))
        table.shown("acknowledged changes, all there after the restart", acknowledged)
        results[name] = {
            "rounds": rounds,
            "acknowledged": acknowledged,
            "unready_max_s": round(unready, 3),
            "exit_max_s": round(exits, 3),
        }
    results["not_durable"] = teeth(table, orderly, work / "not-durable", shim, seed)
    return results


def build(shim: Path) -> Path:
    shim.parent.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, SOURCE, "-ldl"]).returncode:
        raise Failed("fault.c does not compile")
    return shim


def shimmed(orderly: str, work: Path, shim: Path, fault: Fault, settings: tuple = ()) -> Service:
    environment = {
        "LD_PRELOAD": shim,
        "FAULT_TRIGGER": work / "trigger",
        "FAULT_LOG": work / "syncs",
        "FAULT_FILES": "orderly.db",
        "FAULT_SUFFIX": fault.suffix,
        "FAULT_TIMES": fault.times,
    }
    environment = os.environ | {name: str(value) for name, value in environment.items()}
    return Service(orderly, work, settings=settings, environment=environment)


def fail(service: Service, crew: Crew, after: float, grace: float) -> Outcome:
    """Lets syncs fail under load, and watches what the service does about it."""
    crew.start()
    time.sleep(after)
    watch = Watch(service)
    watch.start()
    (service.work / "trigger").touch()
    limit = time.monotonic() + WAIT_SECONDS
    while service.process.poll() is None and time.monotonic() < limit:
        time.sleep(0.001)
    ended, code = time.monotonic(), service.process.poll()
    watch.stopping.set()
    watch.join()
    end(service.process)
    syncs = read(service.work / "syncs")
    failed = [sync.ended for sync in syncs if sync.result]
    if not failed:
        raise Failed(f"no sync failed within {WAIT_SECONDS:.0f} s: the shim does not see them, or nothing is synced")
    at = min(failed)
    acknowledged = crew.all(lambda w: list(w.acknowledged))
    return Outcome(
        min(watch.unready_at, ended) - at,
        ended - at,
        code,
        why(service.log),
        [ack.key for ack in acknowledged if ack.sent > at + grace],
        unsynced(acknowledged, syncs),
    )


def recover(table: Table, service: Service, crew: Crew) -> int:
    """Starts the service without the shim; the writers, which still ask, get their answers."""
    service.environment = None
    service.start()
    service.until_ready()
    time.sleep(0.2)
    crew.stop()
    api = listed(service.client())
    service.stop()
    table.none("torn: what the audit found", service.findings())
    counts = judge(table, crew, api, stored(service.store))
    return counts["acknowledged_changes"]


def teeth(table: Table, orderly: str, work: Path, shim: Path, seed: int) -> dict:
    """The same comparison on a service that acknowledges without a sync must find that."""
    table.part("the same without durability: the comparison must find it")
    service = shimmed(orderly, work, shim, Fault("", "", 0), ("store.durable=false",))
    service.start()
    service.until_ready()
    crew = Crew(service, f"errors/teeth/{seed}")
    crew.start()
    time.sleep(1)
    crew.stop()
    service.kill()
    found = unsynced(crew.all(lambda w: w.acknowledged), read(work / "syncs"))
    table.at_least("acknowledgements whose sync failed, or was never made", 1, len(found))
    return {"acknowledged": crew.changes, "unsynced": len(found)}


class Quiet(Table):
    """Prints nothing: the rounds are told together."""

    def claim(self, text: str, wanted: int, found: int, examples=()) -> None:
        if wanted != found:
            self.failures.append(f"{text} ({found}, such as {', '.join(sorted(map(str, examples))[:3])})")


class Watch(threading.Thread):
    """Asks /readyz until it is not 200 any more."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service, self.stopping, self.unready_at = service, threading.Event(), math.inf

    def run(self) -> None:
        while not self.stopping.is_set():
            if self.service.readyz() != 200:
                self.unready_at = time.monotonic()
                return
            time.sleep(0.005)


def read(log: Path) -> list[Sync]:
    syncs = []
    for line in log.read_text().splitlines():
        began, ended, result, file = line.split(" ", 3)
        syncs.append(Sync(int(began) / 1e9, int(ended) / 1e9, int(result), file))
    return syncs


def unsynced(acknowledged: list[Acknowledged], syncs: list[Sync]) -> list[str]:
    """Acknowledgements without a successful sync of the log between request and answer."""
    good = sorted(sync for sync in syncs if sync.result == 0 and sync.file.endswith("-wal"))
    starts = [sync.began for sync in good]
    found = []
    for ack in acknowledged:
        first = bisect_left(starts, ack.sent)
        last = bisect_left(starts, ack.received)
        if not any(sync.ended <= ack.received for sync in good[first:last]):
            found.append(ack.key)
    return found


def why(log: Path) -> str:
    """The line that says why the service ended: an error about the store's disk."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and '"ERROR"' in line:
            event = json.loads(line)
            if "disk" in (text := f"{event.get('reason', '')} {event.get('failure', '')}"):
                return text
    return ""
