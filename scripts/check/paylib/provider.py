"""gateway-sim as a process: a payment provider whose ledger is the judge."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterable

from crashlib.client import Client
from crashlib.service import SETTLE_SECONDS, TIED, Failed, end, free_port, spawn

SECRET = "gateway-sim-development-secret"
WEBHOOK_SECRET = "whsec_Z2F0ZXdheS1zaW0tZGV2ZWxvcG1lbnQtc2VjcmV0"
DRAIN_SECONDS = 120
WORDS = {"authorized": "authorization", "captured": "capture", "voided": "void", "refunded": "refund"}


class Provider:
    """A provider on one ledger, at the same port after every restart."""

    def __init__(self, sim: str, work: Path, settings: Iterable[str] = ()) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.sim, self.work, self.settings = sim, work, list(settings)
        self.port, self.admin_port, self.process = free_port(), free_port(), None
        self.log, self.secret_file = work / "gateway.log", work / "gateway-secret"
        self.secret_file.write_text(SECRET + "\n")
        self.webhook_secret_file = work / "gateway-webhook-secret"
        self.webhook_secret_file.write_text(WEBHOOK_SECRET + "\n")

    def orderly_settings(self) -> list[str]:
        """What makes a service pay here."""
        return [f"gateway.client.base_url=http://127.0.0.1:{self.port}", f"gateway.secret_file={self.secret_file}"]

    def start(self) -> None:
        listen = ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        command = [*TIED, self.sim, "serve", *listen, "--ledger", self.work / "gateway.db", *settings]
        with self.log.open("ab") as log:
            self.process = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        limit = time.monotonic() + SETTLE_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise Failed(f"the provider does not start; its log is {self.log}")
            time.sleep(0.005)

    def kill(self) -> None:
        end(self.process)

    def freeze(self) -> None:
        """Stops it where it is: connections stay, and nothing is answered."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def plan(self, *faults: str, count: int = 1, kind: str | None = None) -> None:
        """Strikes the next operations with these faults, in the place of what was planned."""
        following = {"faults": list(faults), "count": count} | ({"kind": kind} if kind else {})
        self.set_faults({"next": [following] if faults else []})

    def set_faults(self, plan: dict) -> None:
        self._told("PUT", "/sim/faults", json.dumps(plan))

    def struck(self) -> dict[str, int]:
        """How often each fault has struck."""
        return self._told("GET", "/sim/faults")["struck"]

    def summary(self) -> dict:
        return self._told("GET", "/sim/ledger?limit=1")["summary"]

    def drain(self) -> None:
        """Waits until every event is delivered."""
        limit = time.monotonic() + DRAIN_SECONDS
        while left := self.summary()["webhooks_left"]:
            if time.monotonic() > limit:
                raise Failed(f"{left} events are not delivered after {DRAIN_SECONDS} s")
            time.sleep(0.1)

    def deliveries(self) -> int:
        """How often events were taken."""
        operations = (one for payment in self.payments().values() for one in payment["operations"])
        return sum(one["webhook"]["deliveries"] for one in operations if one.get("webhook"))

    def redirects_followed(self) -> int:
        return self._told("GET", "/sim/faults")["redirects_followed"]

    def payments(self) -> dict[str, dict]:
        """Every payment of the ledger by its id: the sums, and how many operations took effect."""
        found, after = {}, 0
        while after is not None:
            page = self._told("GET", f"/sim/ledger?limit=1000&after={after}")
            found |= {payment["payment"]: payment for payment in page["payments"]}
            after = page.get("next")
        return found

    def payment(self, payment: str) -> dict | None:
        """One payment of the ledger, if anything was asked of it."""
        found = self._told("GET", f"/sim/ledger?payment={payment}")["payments"]
        return found[0] if found else None

    def _told(self, method: str, path: str, body: str | None = None) -> dict:
        client = Client(self.port, SECRET)
        try:
            answer = client.ask(method, path, body=body)
        finally:
            client.close()
        if answer.status != 200:
            raise Failed(f"the provider answers {method} {path} with {answer}")
        return answer.json()

    def _answers(self) -> bool:
        client = Client(self.port, SECRET, timeout=5)
        try:
            return client.ask("GET", "/v1/capabilities").status == 200
        except OSError:
            return False
        finally:
            client.close()


def disagreements(order: dict, ledger: dict[str, dict]) -> list[str]:
    """Where the payments of an order and the provider's ledger tell different sums, or one was charged twice."""
    wrong = []
    for payment in order["payments"]:
        if payment["means"] != "INSTRUMENT":
            continue
        real = ledger.get(payment["id"])
        for word in WORDS:
            ours = int(payment[word]["amount_minor"])
            theirs = int(real["totals"][word]["amount_minor"]) if real else 0
            if ours != theirs:
                wrong.append(f"{word}: the order says {ours}, the provider {theirs}")
        if real and real["successful"]["authorization"] > 1:
            wrong.append(f"charged {real['successful']['authorization']} times")
    return wrong
