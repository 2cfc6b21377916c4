"""Part 2: a trace of the system calls shows a sync before every acknowledgement.

kill -9 proves nothing about syncs, because what was written is in the kernel and survives. So strace tells what the
process asked the kernel for, in the order in which it did, and each 201 is held against it: the page that holds the
order's key must be in a finished transaction of the write-ahead log, and a sync of the log that began after that
must have succeeded before the 201 was sent.
"""

import os
import re
import signal
import threading
from pathlib import Path
from typing import NamedTuple

from crashlib.client import ORDER
from crashlib.service import SETTLE_SECONDS, TIED, Failed, Service
from crashlib.table import Table

CLIENTS = 8
CALLS = "fsync fdatasync pwrite64 pwritev write writev sendto sendmsg read readv recvfrom recvmsg".split()
# -x: pages are told as hexadecimal numbers, headers of HTTP stay as they are.
STRACE = [*TIED, "strace", "-f", "--seccomp-bpf", "-x", "-yy", "-s", "8192", "-e", f"trace={','.join(CALLS)}"]
LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<rest>.*)", re.DOTALL)
FILE = re.compile(r"\(\d+<(?P<name>.*?)>[,) ]")
RESULT = re.compile(r"= (-?\d+)(?: |$)")
FRAME = re.compile(r'"((?:\\x[0-9a-f]{2}){24})", 24, ')
KEY = re.compile(r"idempotency-key: ([!-~]+?)\\r\\n", re.IGNORECASE)


def run(table: Table, orderly: str, work: Path, seed: int, *, creates: int) -> dict:
    results = {}
    for name, clients, durable in [("one", 1, True), ("concurrent", CLIENTS, True), ("not_durable", CLIENTS, False)]:
        setting = "" if durable else ", store.durable=false: the trace must show it"
        table.part(f"a sync before every acknowledgement, {clients} client{'s'[: clients > 1]}{setting}")
        found = read(traced(orderly, work / name, creates, clients, durable))
        table.claim("orders acknowledged, each found in the trace", creates // clients * clients, found.acknowledged)
        if durable:
            table.none("acknowledgements without a sync of their transaction", found.unsynced)
            if clients == 1:
                table.none("acknowledgements with anything of the log unsynced", found.open_log)
        else:
            table.at_least("acknowledgements without a sync of their transaction", 1, len(found.unsynced))
        table.shown("syncs of the log", found.syncs)
        results[name] = {"acknowledged": found.acknowledged, "unsynced": len(found.unsynced), "syncs": found.syncs}
    return results


def traced(orderly: str, work: Path, creates: int, clients: int, durable: bool) -> Path:
    """Runs the service under strace while clients create; tells where the trace is."""
    trace = work / "trace"
    settings = [] if durable else ["store.durable=false"]
    service = Service(orderly, work, settings=settings, wrap=[*STRACE, "-o", trace])
    service.start()
    service.until_ready()

    def create(client: int) -> None:
        connection = service.client()
        for number in range(creates // clients):
            connection.ask("POST", "/v1/orders", f"trace-{client}-{number:06}-key", ORDER)

    threads = [threading.Thread(target=create, args=(client,), daemon=True) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Our child is strace: the service is the first process of its trace, and strace ends with it.
    os.kill(int(trace.read_text(errors="replace").split(" ", 1)[0]), signal.SIGTERM)
    if code := service.process.wait(SETTLE_SECONDS):
        raise Failed(f"the traced service ended with {code}:\n{service.last_lines()}")
    return trace


class Call(NamedTuple):
    """One side of a system call: its entry, or its return."""

    thread: str
    name: str
    file: str
    text: str
    result: int | None


class Found(NamedTuple):
    acknowledged: int
    unsynced: list[str]
    open_log: list[str]
    syncs: int


def read(trace: Path) -> Found:
    history = History()
    with trace.open(errors="replace") as lines:
        for entered, call in calls(lines):
            (history.enter if entered else history.leave)(call)
    return Found(history.acknowledged, history.unsynced, history.open_log, history.syncs)


def calls(lines):
    """Entries and returns, in the order in which strace saw them; a line may be both."""
    open_calls = {}
    for line in lines:
        match = LINE.match(line)
        if not match or match["call"] not in CALLS:
            continue
        thread, name, rest = match.groups()
        if match["rest"].startswith(" resumed>"):
            begun = open_calls.pop(thread, "")
        elif rest.rstrip().endswith("<unfinished ...>"):
            open_calls[thread] = rest
            yield True, Call(thread, name, file_of(rest), rest, None)
            continue
        else:
            begun = ""
            yield True, Call(thread, name, file_of(rest), rest, None)
        result = RESULT.search(rest, max(0, rest.rfind(") ")))
        yield False, Call(thread, name, file_of(begun or rest), begun + rest, int(result[1]) if result else -1)


def file_of(text: str) -> str:
    match = FILE.match(text)
    return match["name"] if match else ""


class History:
    """What was received, written, synced and sent so far."""

    def __init__(self) -> None:
        self.acknowledged, self.syncs = 0, 0
        self.unsynced: list[str] = []
        self.open_log: list[str] = []
        self._written = self._synced = 0
        self._sync_began: dict[str, int] = {}
        self._last_key: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._in_transaction: set[str] = set()
        self._ends_transaction = False
        self._committed_at: dict[str, int] = {}

    def enter(self, call: Call) -> None:
        if call.file.startswith("TCP") and '"HTTP/1.1 201' in call.text and not is_read(call.name):
            self._sent(call.file)
        elif call.name in ("fsync", "fdatasync") and call.file.endswith("-wal"):
            self._sync_began[call.thread] = self._written

    def leave(self, call: Call) -> None:
        if call.file.startswith("TCP") and is_read(call.name):
            for key in KEY.findall(call.text):
                self._last_key[call.file] = key
                # As it stands in a page, which is told in hexadecimal.
                self._waiting[key] = "".join(f"\\x{byte:02x}" for byte in key.encode())
        elif call.name in ("fsync", "fdatasync") and call.file.endswith("-wal"):
            began = self._sync_began.pop(call.thread)
            if call.result == 0:
                self.syncs += 1
                self._synced = max(self._synced, began)
        elif call.name.startswith("pwrite") and call.file.endswith("-wal") and call.result > 0:
            self._log_grew(call.text)

    def _log_grew(self, text: str) -> None:
        self._written += 1
        if header := FRAME.search(text):
            # Bytes 4 to 7 of a frame's header: the size of the store, in the last frame of a transaction only.
            self._ends_transaction = header[1][16:32] != r"\x00" * 4
            return
        self._in_transaction |= {key for key, seen in self._waiting.items() if seen in text}
        if self._ends_transaction:
            for key in self._in_transaction:
                self._committed_at[key] = self._written
                del self._waiting[key]
            self._in_transaction, self._ends_transaction = set(), False

    def _sent(self, connection: str) -> None:
        key = self._last_key.pop(connection, "")
        self.acknowledged += bool(key)
        committed_at = self._committed_at.get(key)
        if committed_at is None or committed_at > self._synced:
            self.unsynced.append(key)
        if self._written > self._synced:
            self.open_log.append(key)


def is_read(call: str) -> bool:
    return call.startswith(("read", "recv"))
