"""A service whose bottleneck is known, on processors of its own, and the load that comes from the others."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from crashlib import errors
from crashlib.service import TIED, Failed, Service
from crashlib.writers import stored
from lib import build

# What a client waits for an answer from when it was due, and what it tells the service: less, for the way back.
PATIENCE_MS, TOLD_MS = 1_000, 950
TENANTS = 10
# Requests on their way at a time, each on a connection, in those of the peak within the patience: enough that what waits
# can be too late, and so few that each has its first request before the service ends it for having none (5 s).
PATIENCES = 2
LEAST_CONNECTIONS, MOST_CONNECTIONS = 512, 8_000
LEAST_FILES = 4_096
FILL_CALLERS = 64


class Bound(NamedTuple):
    """What a service is limited by; `sync_ms` is the least time of a commit's sync."""

    title: str
    settings: tuple[str, ...]
    sync_ms: int = 0


BOUNDS = {
    "store": Bound("Bound by the store: at most 8 orders a commit, each of 20 ms or more", ("store.batch=8",), 20),
    "cpu": Bound("Bound by the processor: commits do not wait for the disk", ("store.durable=false",)),
}
# One request in service, which takes half a second: nearly all others are refused, which is all that this does.
REFUSING = Bound(
    "Refuses",
    ("store.batch=1", "admission.in_service=1", "admission.queue=1", "admission.queue_per_tenant=1"),
    500,
)
# As large as they go.
OFF = (
    "admission.in_service=1000000",
    "admission.queue=1000000",
    "admission.queue_per_tenant=1000000",
    "store.queue=1000000",
    "store.read_queue=1000000",
    "http.default_deadline=9m",
    "http.largest_deadline=9m",
)


class Tools(NamedTuple):
    """What every part needs: binaries, keys of ten tenants, and which processors are whose."""

    orderly: str
    load: str
    shim: Path
    keys: list[str]
    files: tuple[str, ...]
    service: list[int]
    generator: list[int]


def prepare(work: Path) -> Tools:
    """Builds and makes keys; afterwards this process and the generators it starts keep to their half."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise Failed("it needs two processors: one for the service, one for the load")
    orderly = build("orderly", "orderly", os.environ.get("ORDERLY_BIN", ""))
    load = build("orders-load", "orders-load", os.environ.get("ORDERS_LOAD_BIN", ""))
    work.mkdir(parents=True, exist_ok=True)
    shim = errors.build(work / "fault.so")
    files = (f"auth.keys_file={work / 'keys.toml'}", f"auth.pepper_file={work / 'pepper'}")
    for name in ("keys.toml", "pepper"):
        (work / name).unlink(missing_ok=True)
    keys = [make_key(orderly, f"tenant-{number}", files, work) for number in range(TENANTS)]
    half = len(processors) // 2
    os.sched_setaffinity(0, processors[half:])
    open_many_files()
    return Tools(orderly, load, shim, keys, files, processors[:half], processors[half:])


def make_key(orderly: str, tenant: str, files: tuple[str, ...], work: Path) -> str:
    settings = [word for setting in files for word in ("--set", setting)]
    command = [orderly, "key", "new", "--tenant", tenant, "--principal", "load", *settings]
    made = subprocess.run(command, capture_output=True, text=True, cwd=work)
    if made.returncode:
        raise Failed(f"no key could be made: {made.stderr.strip()[-300:]}")
    return next(word for word in made.stdout.split() if "." in word and len(word) > 40)


def open_many_files() -> None:
    """Each connection is a file, and the service keeps half of what it may open for other things."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < LEAST_FILES:
        raise Failed(f"it needs {LEAST_FILES} open files, and may have {most}")


def connections(peak: float) -> int:
    """Requests on their way at a time, at most as many as the service takes connections."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = MOST_CONNECTIONS if most == resource.RLIM_INFINITY else most // 2 - 200
    wanted = max(LEAST_CONNECTIONS, round(PATIENCES * peak * PATIENCE_MS / 1e3))
    return min(wanted, MOST_CONNECTIONS, room)


class Kept(NamedTuple):
    """What was acknowledged, held against what the store keeps."""

    acknowledged: int
    astray: list[str]
    twice: list[str]
    findings: list[str]


class Scene:
    """One service from its start to the audit of what it leaves."""

    def __init__(self, tools: Tools, work: Path, bound: Bound, settings: tuple[str, ...] = (), *, told: bool = True) -> None:
        self.tools, self.work, self.bound, self.told = tools, work, bound, told
        self.slow = work / "slow"
        self.acknowledged: dict[str, str] = {}
        environment = os.environ | {
            "LD_PRELOAD": str(tools.shim),
            "FAULT_TRIGGER": str(self.slow),
            "FAULT_LOG": str(work / "syncs"),
            "FAULT_FILES": "orderly.db",
            "FAULT_SUFFIX": "-wal",
            "FAULT_DELAY_MS": str(bound.sync_ms),
        }
        self.service = Service(
            tools.orderly,
            work,
            settings=[*tools.files, *bound.settings, *settings],
            wrap=["taskset", "-c", ",".join(map(str, tools.service))],
            environment=environment if bound.sync_ms else None,
        )
        self.service.token = tools.keys[0]
        self.service.start()
        self.service.until_ready()

    @property
    def pid(self) -> int:
        return self.service.process.pid

    def fill(self, seconds: float) -> None:
        """Fills the store's caches at full speed, so that later growth of memory is the load's."""
        self.load("fill", ["closed", "--callers", FILL_CALLERS], seconds=seconds, warmup=0)

    def bind(self) -> None:
        """From now on commits are as slow as the bound says."""
        self.slow.touch()

    def load(self, name: str, mode: list, *, seconds: float, warmup: float, tenants: list[tuple] | None = None) -> dict:
        """Runs the generator, keeps what was acknowledged, and gives its record."""
        record, acknowledged = self.work / f"{name}.json", self.work / f"{name}.acknowledged"
        command = [*TIED, self.tools.load, *mode, "--url", f"http://127.0.0.1:{self.service.port}", "--synthetic"]
        command += ["--allow-overload", "--within", f"{PATIENCE_MS}ms", "--timeout", "10s", "--sample", 100]
        command += ["--duration", f"{round(seconds * 1e3)}ms", "--warmup", f"{round(warmup * 1e3)}ms"]
        command += ["--threads", len(self.tools.generator), "--pid", self.pid, "--commit", "none"]
        command += ["--acknowledged", acknowledged, "--json", record]
        command += ["--deadline", f"{TOLD_MS}ms"] if self.told else []
        for group, weight, key in tenants or [("one", 1, self.tools.keys[0])]:
            command += ["--tenant", f"{group}:{weight}:{key}"]
        with (self.work / f"{name}.table").open("wb") as table:
            done = subprocess.run([str(word) for word in command], stdout=table)
        # 1 is for answers that were wrong or missing, which the record tells.
        if done.returncode not in (0, 1) or self.service.process.poll() is not None:
            raise Failed(f"{name}: the load ended with {done.returncode}; the service:\n{self.service.last_lines()}")
        self.acknowledged |= dict(line.split() for line in acknowledged.read_text().splitlines())
        return json.loads(record.read_text())

    def close(self) -> Kept:
        """Stops the service and looks what it kept."""
        # What was still on its way when the load ended may end by itself.
        time.sleep(1)
        self.slow.unlink(missing_ok=True)
        self.service.stop()
        file = stored(self.service.store)
        astray = [key for key, order in self.acknowledged.items() if file.orders.get(key) != order]
        return Kept(len(self.acknowledged), astray, file.twice, self.service.findings())
