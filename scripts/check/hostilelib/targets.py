"""What is attacked: the real service, plain axum, or any address."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from crashlib.service import TIED, Failed, Service, spawn
from lib import ROOT, build, proc_field

# Short where the default would make the check long. The others are the defaults.
IDLE_SECONDS = 5
CONNECTIONS = 10_000


@dataclass
class Target:
    """An address, the process behind it, and what to ask of it."""

    name: str
    host: str
    port: int
    pid: int = 0
    token: str = ""
    get: str = "/v1/orders"
    post: str = "/v1/orders"
    stream: str = "/v1/orders/batch"
    cap: int = CONNECTIONS
    limits: dict = field(default_factory=dict)

    def rss(self) -> int:
        """Resident memory in KiB; 0 when the process is not known or gone."""
        if not self.pid:
            return 0
        try:
            return int(proc_field(f"/proc/{self.pid}/status", "VmRSS").split()[0])
        except (OSError, ValueError):
            return 0


def orderly(work: Path) -> Target:
    """The real service with a development key, and an idle limit that can be waited for."""
    binary = build("orderly", "orderly", os.environ.get("ORDERLY_BIN", ""))
    service = Service(binary, work, settings=[f"server.idle_timeout={IDLE_SECONDS}s", "log.level=error", 'server.trusted_proxies=["127.0.0.1"]'])
    service.start()
    service.until_ready()
    return Target("mainstay", "127.0.0.1", service.port, service.process.pid, service.token)


def axum() -> Target:
    """The same routes on plain `axum::serve`."""
    command = ["cargo", "build", "--release", "--locked", "-p", "mainstay", "--example", "plain"]
    done = subprocess.run([*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        raise Failed("the example plain does not build")
    built = [message for line in done.stdout.splitlines() if (message := json.loads(line)).get("executable")]
    path = next(message["executable"] for message in built if message["target"]["name"] == "plain")
    process = spawn([*TIED, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])
    return Target("axum", "127.0.0.1", port, process.pid)


def settle(target: Target, seconds: float = 1.0) -> None:
    """Waits until the process takes no more memory than before, at most a few seconds."""
    before, deadline = -1, time.monotonic() + 5 * seconds
    while before != target.rss() and time.monotonic() < deadline:
        before = target.rss()
        time.sleep(seconds)
