"""One stop after another on one store."""

import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

from crashlib.service import TIED, Failed, Service, spawn, end
from drainlib.clients import Hole, Kept, KeptHttp2, Seen, Slow, Stop, Watcher, deaf_http2, half_open, hanging_scraper

KEPT, SLOW, HTTP2 = 6, 3, 2
# What each client that never finishes what it began has sent, and how many of them have begun to ask.
HALF_OPEN, BEGUN = (b"", b"POST /v1/ord", b"PRI * HTTP/2.0\r\n"), 2
# A write takes pages of the pipe, the last of which may be nearly empty: a full pipe holds more than half of its size.
PIPE, FULL = 1 << 14, 1 << 13


@dataclass(frozen=True)
class Limits:
    """The budgets that the service is given, in seconds."""

    lame_duck: float = 0.3
    deadline: float = 3.0
    flush: float = 1.0
    # Of the last log lines and spans, once everything else has ended.
    log_flush: float = 1.0
    # For the process to be started, told and gone on a machine that the clients share with it.
    margin: float = 0.5

    def bound(self) -> float:
        return self.lame_duck + self.deadline + self.flush + self.log_flush + self.margin

    def settings(self) -> list[str]:
        return [
            f"lifecycle.lame_duck={self.lame_duck * 1000:.0f}ms",
            f"lifecycle.drain={self.deadline * 1000:.0f}ms",
            f"lifecycle.flush={self.flush * 1000:.0f}ms",
            f"log.flush={self.log_flush * 1000:.0f}ms",
            f"http.largest_deadline={self.deadline * 1000:.0f}ms",
        ]


LIMITS = Limits()


class Rounds:
    def __init__(self, orderly: str, work: Path, chance: random.Random) -> None:
        self.service, self.chance, self.seen, self.hole = Service(orderly, work), chance, Seen(), Hole()
        self.exits: list[tuple[float, bool]] = []
        self.bad_ends: list[str] = []
        self.bad_reports: list[str] = []
        self.bad_feeds: list[str] = []
        self.bad_cuts: list[str] = []
        self.calls: list[int] = []
        self.unread: list[int] = []
        self.after = 0

    def one(self, hanging: bool) -> None:
        service, stop = self.service, Stop()
        log = self.start(hanging)
        service.until_ready()
        watcher = Watcher(service, self.after)
        clients = [Kept(service, self.seen, stop) for _ in range(KEPT)] + [Slow(service, self.seen, stop) for _ in range(SLOW)]
        clients += [KeptHttp2(service, self.seen, stop) for _ in range(HTTP2)]
        calls = len(self.hole.held)
        for thread in [watcher, *clients]:
            thread.start()
        held = [half_open(service.port, sent) for sent in HALF_OPEN] + [deaf_http2(service)]
        if hanging:
            held += [hanging_scraper(service.admin_port) for _ in range(4)]
        time.sleep(self.chance.uniform(0.3, 0.9))

        stop.at = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        self.wait(stop.at, hanging)
        for thread in [watcher, *clients]:
            thread.join(20)
            if thread.is_alive():
                self.seen.fail(f"{type(thread).__name__} had neither an answer nor an end 20 s after the exit")
        for connection in held:
            connection.close()
        if log is not None:
            self.calls.append(len(self.hole.held) - calls)
            self.unread.append(waiting_in(log))
            os.close(log)
        else:
            self.read_report()
        if wrong := watcher.verdict():
            self.bad_feeds.append(wrong)
        self.after = watcher.seen[-1] if watcher.seen else self.after

    def start(self, hanging: bool) -> int | None:
        """Starts the service; with `hanging` its log goes into a pipe of which the reading end is returned, unread."""
        service = self.service
        listen = ["--listen", f"127.0.0.1:{service.port}", "--admin-listen", f"127.0.0.1:{service.admin_port}"]
        values = LIMITS.settings()
        if hanging:
            values.append(f"log.traces.endpoint=http://127.0.0.1:{self.hole.port}")
        settings = [word for value in values for word in ("--set", value)]
        command = [*TIED, service.orderly, "serve", *listen, "--store", service.store, *settings]
        unread, log = os.pipe() if hanging else (None, os.open(service.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        if hanging:
            fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, PIPE)
        with service.out.open("ab") as out:
            service.started = time.monotonic()
            service.process = spawn(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        os.close(log)
        return unread

    def wait(self, since: float, hanging: bool) -> None:
        try:
            code = self.service.process.wait(30)
        except subprocess.TimeoutExpired:
            raise Failed("the service did not end within 30 s of SIGTERM") from None
        self.exits.append((time.monotonic() - since, hanging))
        end(self.service.process)
        if code != 0:
            self.bad_ends.append(f"exit code {code}, hanging {hanging}")

    def read_report(self) -> None:
        lines = [json.loads(line) for line in self.service.log.read_text().splitlines()]
        reports = [line for line in lines if line.get("message") == "stopped"]
        if len(reports) != 1 or reports[0].get("tasks_cut"):
            self.bad_reports.append(str(reports))
        elif (cut := reports[0]["connections_cut"]) != BEGUN:
            self.bad_cuts.append(f"{cut} cut, of which {BEGUN} had begun to ask and never went on")

    def lost(self) -> list[str]:
        """Acknowledged orders of which the file knows nothing, and keys with two."""
        with sqlite3.connect(f"{self.service.store.as_uri()}?mode=ro", uri=True) as db:
            keys = [key for (key,) in db.execute("SELECT create_key FROM orders")]
        return sorted(self.seen.acknowledged - set(keys)) + [f"{len(keys) - len(set(keys))} keys with two orders"] * (len(keys) != len(set(keys)))


def waiting_in(pipe: int) -> int:
    """How many bytes nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
