"""What is seen of the service beside the load: its memory, its health as a prober sees it, why it refused."""

import re
import threading
import time
from urllib.request import urlopen

from crashlib.service import Service
from crashlib.table import percentile
from lib import proc_field

EVERY = 0.1
PROBES = ("/livez", "/readyz")
REASON = re.compile(r'^order_service_admission_refused_total\{reason="(\w+)"\} (\S+)$', re.MULTILINE)


def rss_mib(pid: int) -> float:
    return round(int(proc_field(f"/proc/{pid}/status", "VmRSS").split()[0]) / 1024, 1)


def reasons(service: Service) -> dict[str, int]:
    """How many were refused by admission since the start, by why."""
    with urlopen(f"http://127.0.0.1:{service.admin_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {reason: round(float(count)) for reason, count in REASON.findall(text)}


class Watch:
    """Looks ten times a second for as long as the block lasts."""

    def __init__(self, service: Service) -> None:
        self.service, self.most, self.took, self.failed = service, 0.0, [], []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.thread.join(30)

    def health(self) -> dict:
        return {
            "probes": len(self.took),
            "failed": len(self.failed),
            "p99_ms": round(percentile(self.took, 0.99) * 1e3, 1),
            "most_ms": round(max(self.took, default=0.0) * 1e3, 1),
        }

    def _look(self) -> None:
        while not self.stopping.wait(EVERY):
            try:
                self.most = max(self.most, rss_mib(self.service.process.pid))
            except (OSError, ValueError):
                return
            for path in PROBES:
                began = time.monotonic()
                status = self.service.admin(path)
                self.took.append(time.monotonic() - began)
                if status != 200:
                    self.failed.append(f"{path}: {status}")
