"""The real binary as a process: started, watched until it is ready, ended by its pid."""

import json
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterable

from crashlib.client import Client

# The kernel ends what we start when we end, however that happens. Innermost, because a change of
# credentials in a wrapper would clear it.
TIED = ["setpriv", "--pdeathsig", "KILL"]
SETTLE_SECONDS = 30

_started: set[subprocess.Popen] = set()


class Failed(Exception):
    """The service did not do what the check needs to go on."""


def spawn(command: Iterable, **options) -> subprocess.Popen:
    """Starts a process that does not outlive this one. Only from the main thread: the tie is to the thread."""
    process = subprocess.Popen([str(word) for word in command], **options)
    _started.add(process)
    return process


def end(process: subprocess.Popen) -> int:
    """Ends a process at once and tells its exit code."""
    if process.poll() is None:
        process.kill()
    code = process.wait()
    _started.discard(process)
    return code


def end_all() -> None:
    for process in list(_started):
        end(process)


def free_port() -> int:
    """A free port below those that clients get: while the service is down, none of them can take it."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(max(1024, first - 12_000), first)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Service:
    """`orderly serve` on one store, at the same two ports after every restart."""

    def __init__(
        self,
        orderly: str,
        work: Path,
        *,
        store: Path | None = None,
        settings: Iterable[str] = (),
        wrap: Iterable = (),
        environment: dict | None = None,
    ) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.orderly, self.work, self.wrap, self.environment = orderly, work, list(wrap), environment
        self.store = store or work / "store" / "orderly.db"
        self.settings = ["lifecycle.lame_duck=0s", *settings]
        self.port, self.admin_port = free_port(), free_port()
        self.out, self.log = work / "out", work / "log"
        self.process, self.token, self.started = None, "", 0.0

    def start(self) -> None:
        listen = ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        command = [*self.wrap, *TIED, self.orderly, "serve", *listen, "--store", self.store, *settings]
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self.started = time.monotonic()
            self.process = spawn(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self.environment)

    def until_ready(self) -> float:
        """Waits for the service to be ready; tells the seconds since its process was started."""
        while self.readyz() != 200:
            if self.process.poll() is not None:
                code = self.process.returncode
                raise Failed(f"the service ended with {code} before it was ready:\n{self.last_lines()}")
            if time.monotonic() - self.started > SETTLE_SECONDS:
                raise Failed(f"the service is not ready after {SETTLE_SECONDS} s:\n{self.last_lines()}")
            time.sleep(0.002)
        seconds = time.monotonic() - self.started
        if not self.token:
            self.token = re.search(r"^ +key +(\S+)$", self.out.read_text(), re.MULTILINE)[1]
        return seconds

    def readyz(self) -> int:
        """The status of /readyz; 0 when nobody answers."""
        return self.admin("/readyz")

    def admin(self, path: str) -> int:
        client = Client(self.admin_port, timeout=5)
        try:
            return client.ask("GET", path).status
        except OSError:
            return 0
        finally:
            client.close()

    def client(self) -> Client:
        return Client(self.port, self.token)

    def kill(self) -> None:
        end(self.process)

    def stop(self) -> int:
        """Asks for an orderly stop; tells the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"the service does not stop:\n{self.last_lines()}") from None
        return end(self.process)

    def findings(self) -> list[str]:
        """What the audit finds, whether or not the service runs; its own failure is a finding."""
        command = [*self.wrap, *TIED, self.orderly, "audit", "--store", self.store, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        try:
            findings = json.loads(done.stdout)["findings"]
        except (ValueError, KeyError):
            return [f"the audit ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
        return findings or ([f"the audit ended with {done.returncode}"] if done.returncode else [])

    def last_lines(self) -> str:
        """The end of its log, for a person."""
        return "\n".join(line[:200] for line in self.log.read_text(errors="replace").splitlines()[-4:])
