"""A good client: one kept connection, a request every few milliseconds, and when each was answered."""

import gc
import multiprocessing
import os
import socket
import time

from hostilelib import wire
from hostilelib.targets import Target

EVERY = 0.004


class Good:
    """Runs in a process of its own, so that neither this check's threads nor the floods delay it."""

    def __init__(self, target: Target) -> None:
        self.queue = multiprocessing.Queue()
        self.stop = multiprocessing.Event()
        self.process = multiprocessing.Process(target=_ask, args=(target, self.queue, self.stop), daemon=True)
        self.process.start()

    def end(self) -> list[tuple[float, float | None]]:
        """When each request was due, and its latency from then; None for one that was not answered with 200."""
        self.stop.set()
        asked = self.queue.get(timeout=30)
        self.process.join()
        return asked


def _ask(target: Target, queue: multiprocessing.Queue, stop: multiprocessing.Event) -> None:
    request = wire.request_head("GET", target.get, target.token)
    asked, peer, due = [], None, time.monotonic()
    gc.disable()
    _as_if_elsewhere()
    while not stop.is_set():
        due += EVERY
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            if peer is None:
                peer = socket.create_connection((target.host, target.port), 2)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(request)
            fine, last = _answer(peer)
        except OSError:
            fine, last = False, True
        now = time.monotonic()
        asked.append((due, now - due if fine else None))
        # After a long pause it goes on from now: what it could not ask meanwhile is counted as missing.
        due = max(due, now - EVERY)
        if last and peer:
            peer.close()
            peer = None
    queue.put(asked)


def _as_if_elsewhere() -> None:
    """Runs before everything else, as a client does that has a machine of its own."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("LEFT OUT: a client ahead of all else, because this user may not; its latencies hold its own waits too")


def _answer(peer: socket.socket) -> tuple[bool, bool]:
    """Reads one answer: whether it was 200, and whether the connection ends with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(peer)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += _some(peer)
    return head.split(b" ")[1] == b"200", b"connection: close" in lines


def _some(peer: socket.socket) -> bytes:
    some = peer.recv(1 << 16)
    if not some:
        raise ConnectionError("closed")
    return some
