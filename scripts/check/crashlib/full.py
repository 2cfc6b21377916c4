"""Part 4: a full disk refuses writes only, and heals without a restart.

The store lies on a small file system of its own, in a mount namespace of its own: nothing else can see it, and it is
gone with the last process in it. A ballast file takes most of its space; when it is deleted, space returns.
"""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from crashlib.client import listed
from crashlib.service import TIED, Failed, Service, end, spawn
from crashlib.table import Table
from crashlib.writers import Crew, judge, stored

SIZE_MIB, BALLAST_MIB = 24, 14
FILL_SECONDS, HEAL_SECONDS = 90, 5.0
# `cat` ends, and with it the namespace, when our end of the pipe closes.
HOLD = f'mount -t tmpfs -o size={SIZE_MIB}m,mode=700 crash "$1" && echo mounted && exec cat'


def run(table: Table, orderly: str, work: Path, seed: int, *, seconds: float) -> dict:
    table.part(f"a disk of {SIZE_MIB} MiB that fills up, 8 writers, reads beside them")
    disk = Disk(work.with_name("disk"))
    try:
        ballast = disk.seen / "ballast"
        ballast.write_bytes(bytes(BALLAST_MIB << 20))
        service = Service(orderly, work, store=disk.path / "orderly.db", wrap=disk.enter)
        results = fill_and_heal(table, service, ballast, random.Random(f"full/{seed}"), seconds)
    finally:
        end(disk.holder)
    return results


class Disk:
    """A small file system that only processes started with `enter` see."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, user = path, [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", *user, "--mount", "--propagation", "private", *TIED, "sh", "-c", HOLD, "sh", path]
        self.holder = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline().strip() != "mounted":
            raise Failed("cannot mount a file system of its own, as root or in a user namespace")
        as_user = ["--user", "--preserve-credentials"] if user else []
        self.enter = ["nsenter", "--target", self.holder.pid, *as_user, "--mount"]
        # The same folder, seen from outside.
        self.seen = Path(f"/proc/{self.holder.pid}/root") / path.relative_to("/")


def fill_and_heal(table: Table, service: Service, ballast: Path, chance: random.Random, seconds: float) -> dict:
    service.start()
    service.until_ready()
    crew = Crew(service, f"full/{chance.random()}")
    crew.start()
    filled = until_full(crew)
    reads = read_for(service, crew, chance, seconds)
    ready, live = service.readyz(), service.admin("/livez")
    held, ended = crew.changes, service.process.poll() is not None
    still_refused = crew.total(lambda w: any(at > filled for at, _ in w.refused_full))
    freed = time.monotonic()
    ballast.unlink()
    healed = until_healed(crew, freed)
    time.sleep(1)
    crew.stop()
    # As a kill leaves it, so that what is read comes from the disk.
    service.kill()
    service.start()
    service.until_ready()
    api = listed(service.client())
    code, findings, file = service.stop(), service.findings(), stored(copied(ballast.parent, service.work / "copy"))
    counts = judge(table, crew, api, file)
    refused = crew.all(lambda w: w.refused_full)
    table.none("orders that were answered store-full and are there", [key for _, key in refused if key in file.orders])
    table.none("torn: what the audit found", findings)
    table.claim("exit code of the orderly stop at the end", 0, code)
    table.claim("writers that were refused with 507 while the disk was full", 8, still_refused)
    table.claim("reads answered 200 while the disk was full", reads.total(), reads[200])
    table.claim("the process lives, and /livez answers 200", 200, 0 if ended else live)
    table.at_most("a write succeeds after space returned (s)", HEAL_SECONDS, round(healed - freed, 3))
    table.none("writes refused from a second after that", [key for at, key in refused if at > healed + 1])
    figures = {
        "acknowledged_before_space_returned": held,
        "refused_store_full": len(refused),
        "reads_while_full": reads.total(),
        "readyz_while_full": ready,
    }
    for name, figure in (counts | figures).items():
        table.shown(name.replace("_", " "), figure)
    return counts | figures | {"healed_s": round(healed - freed, 3)}


def until_full(crew: Crew) -> float:
    """Waits until nothing was acknowledged for a second, and every writer was refused; tells when."""
    limit = time.monotonic() + FILL_SECONDS
    while time.monotonic() < limit:
        time.sleep(0.1)
        last = max((w.acknowledged[-1].received for w in crew.writers if w.acknowledged), default=limit)
        if time.monotonic() - last > 1 and all(w.refused_full for w in crew.writers):
            return time.monotonic()
    raise Failed(f"the disk is not full after {FILL_SECONDS} s: {crew.all(lambda w: w.wrong)[:3]}")


def read_for(service: Service, crew: Crew, chance: random.Random, seconds: float) -> Counter:
    """Reads orders, their history and lists for a while; tells how often each status came."""
    orders, client, statuses = list(crew.merged(lambda w: w.keys).values()), service.client(), Counter()
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        order = chance.choice(orders)
        for path in (f"/v1/orders/{order}", f"/v1/orders/{order}/history", "/v1/orders"):
            try:
                statuses[client.ask("GET", path).status] += 1
            except OSError:
                statuses[0] += 1
    return statuses


def until_healed(crew: Crew, freed: float) -> float:
    """Waits for a request that was sent after space returned to be acknowledged; tells when it was."""
    limit = time.monotonic() + 4 * HEAL_SECONDS
    while time.monotonic() < limit:
        time.sleep(0.005)
        received = [w.acknowledged[-1].received for w in crew.writers if w.acknowledged[-1].sent > freed]
        if received:
            return min(received)
    return limit


def copied(folder: Path, to: Path) -> Path:
    """The stopped store, copied to where SQLite finds it by its name."""
    to.mkdir()
    for file in folder.glob("orderly.db*"):
        shutil.copy(file, to)
    return to / "orderly.db"
