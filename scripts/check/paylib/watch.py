"""What a running service and its provider show of themselves, while a check looks on."""

import json
import re
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from crashlib.client import Client
from crashlib.service import Service

LOOK_SECONDS = 0.02
OPEN = 2


def metrics(service: Service) -> dict[str, float]:
    """Every series of the service with its value."""
    client = Client(service.admin_port, timeout=5)
    try:
        lines = client.ask("GET", "/metrics").body.decode().splitlines()
    finally:
        client.close()
    told = (line.split(" ")[:2] for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, value in told}


def tries(told: dict[str, float]) -> float:
    """Tries at the provider at most: every call, those that were refused on the way included, and every retry."""
    wanted = re.compile(r'\w+_client_(requests|retries)_total\{.*dependency="gateway"')
    return sum(value for series, value in told.items() if wanted.match(series))


def rss_mib(service: Service) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text())
    return int(found[1]) / 1024


class Watch(threading.Thread):
    """Looks at the breaker and the memory of a service until it is stopped."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service, self.stopping = service, threading.Event()
        self.opened_at, self.rss = None, rss_mib(service)

    def run(self) -> None:
        while not self.stopping.wait(LOOK_SECONDS):
            self.rss = max(self.rss, rss_mib(self.service))
            if self.opened_at is None:
                told = metrics(self.service)
                if any(value == OPEN for series, value in told.items() if "client_breaker_state" in series):
                    self.opened_at = time.time()

    def stop(self) -> None:
        self.stopping.set()
        self.join()


def calls(log: Path, since: float) -> Counter:
    """Calls that the provider got in each second after `since`, by its own log."""
    found = Counter()
    with log.open(errors="replace") as lines:
        for line in lines:
            if '"http.access"' in line and '"/v1/' in line and '"/v1/capabilities"' not in line:
                at = datetime.fromisoformat(json.loads(line)["timestamp"].replace("Z", "+00:00")).timestamp()
                if at >= since:
                    found[int(at - since)] += 1
    return found
