"""Part 4: a full disk refuses writes only, and heals without a restart.

The store lies on a small file system of its own, in a mount namespace of its own: nothing else can see it, and it is
gone with the last process in it. Two ballast files take most of its space; when one is deleted, space returns.
"""

import errno
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

SIZE_MIB, BALLAST_MIB = 64, 20
FILL_SECONDS, HEAL_SECONDS, RESTARTS = 60, 5.0, 5
# `cat` ends, and with it the namespace, when our end of the pipe closes.
HOLD = f'mount -t tmpfs -o size={SIZE_MIB}m,mode=700 crash "$1" && echo mounted && exec cat'


def run(table: Table, orderly: str, work: Path, seed: int, *, seconds: float) -> dict:
    table.part(f"a disk of {SIZE_MIB} MiB that fills up, 8 writers, reads beside them")
    disk = Disk(work.with_name("disk"))
    try:
        service = Service(orderly, work, store=disk.path / "orderly.db", wrap=disk.enter)
        return fill_and_heal(table, service, disk, random.Random(f"full/{seed}"), seconds)
    finally:
        end(disk.holder)


def can_mount() -> bool:
    """Whether this user may mount: root outside a container may, others where user namespaces are allowed."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


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
        self.ballast = [self.seen / "ballast-1", self.seen / "ballast-2"]
        for file in self.ballast:
            file.write_bytes(bytes(BALLAST_MIB << 20))

    def free(self) -> float:
        """Lets space return; tells when."""
        self.ballast.pop().unlink()
        return time.monotonic()

    def fill(self) -> None:
        """Takes the pages that were too few for the store."""
        with (self.seen / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def fill_and_heal(table: Table, service: Service, disk: Disk, chance: random.Random, seconds: float) -> dict:
    service.start()
    service.until_ready()
    crew = Crew(service, f"full/{chance.random()}")
    crew.start()
    filled = until_full(crew, service.started)
    reads = read_for(service, crew, chance, seconds)
    ready, live = service.readyz(), service.admin("/livez")
    refused_each = [sum(at > filled for at, _ in writer.refused_full) for writer in crew.writers]
    freed = disk.free()
    healed = until_healed(crew, freed)
    lived = service.process.poll() is None
    # It fills up again, and is killed then: a service that starts on a full disk must read.
    until_full(crew, healed)
    disk.fill()
    started, more_reads = 0, Counter()
    while started < RESTARTS and starts_again(service):
        started += 1
        more_reads += read_for(service, crew, chance, seconds / RESTARTS)
    disk.free()
    if started < RESTARTS:
        service.start()
        service.until_ready()
    crew.stop()
    # As a kill leaves it, so that what is read comes from the disk.
    service.kill()
    service.start()
    service.until_ready()
    api = listed(service.client())
    code, findings, file = service.stop(), service.findings(), stored(copied(disk.seen, service.work / "copy"))
    counts = judge(table, crew, api, file)
    refused = [key for _, key in crew.all(lambda w: w.refused_full)]
    table.none("orders that were answered store-full and are there", [key for key in refused if key in file.orders])
    table.none("torn: what the audit found", findings)
    table.claim("exit code of the orderly stop at the end", 0, code)
    table.at_least("writes refused with 507 store-full, least of a writer", 1, min(refused_each))
    table.claim("reads answered 200 while the disk was full", reads.total(), reads[200])
    table.claim("/livez while the disk was full", 200, live)
    table.within("all writers succeed after space returned (s)", HEAL_SECONDS, round(healed - freed, 3))
    table.claim("the process is still the same", 1, int(lived))
    table.claim("killed on the full disk it starts again", RESTARTS, started)
    table.claim("reads answered 200 after that", more_reads.total(), more_reads[200])
    figures = {
        "refused_store_full": len(refused),
        "reads_while_full": reads.total(),
        "readyz_while_full": ready,
        "restarts_while_full": started,
    }
    for name, figure in (counts | figures).items():
        table.shown(name.replace("_", " "), figure)
    return counts | figures | {"healed_s": round(healed - freed, 3)}


def starts_again(service: Service) -> bool:
    service.kill()
    service.start()
    try:
        service.until_ready()
    except Failed as failure:
        print(f"        {failure}".replace("\n", "\n        "))
        return False
    return True


def until_full(crew: Crew, since: float) -> float:
    """Waits until nothing is acknowledged for a second while every writer is refused; tells when."""
    limit = time.monotonic() + FILL_SECONDS
    while time.monotonic() < limit:
        time.sleep(0.1)
        quiet = time.monotonic() - 1
        answered = max((w.acknowledged[-1].received for w in crew.writers if w.acknowledged), default=since)
        refused = [w.refused_full[-1][0] if w.refused_full else since for w in crew.writers]
        if answered < quiet < min(refused):
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
    """Waits until every writer got an acknowledgement for what it sent after space returned; tells when."""
    limit, first = freed + 4 * HEAL_SECONDS, {}
    while len(first) < len(crew.writers) and time.monotonic() < limit:
        time.sleep(0.002)
        for writer in crew.writers:
            if writer.name not in first and writer.acknowledged[-1].sent > freed:
                first[writer.name] = writer.acknowledged[-1].received
    return max(first.values()) if len(first) == len(crew.writers) else limit


def copied(folder: Path, to: Path) -> Path:
    """The stopped store, copied to where SQLite finds it by its name."""
    to.mkdir()
    for file in folder.glob("orderly.db*"):
        shutil.copy(file, to)
    return to / "orderly.db"
