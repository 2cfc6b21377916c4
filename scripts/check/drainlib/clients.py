"""Clients that know what they sent, on what kind of connection, and what they are owed."""

import contextlib
import itertools
import json
import socket
import threading
import time

from crashlib.client import ORDER
from crashlib.service import Failed, Service
from hostilelib import wire

SLOW_SECONDS = 0.6


class Seen:
    """What all clients of all rounds saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acknowledged: set[str] = set()
        self.failed: list[str] = []
        self.late = self.slow_served = self.reused_closed = self.turned_away = 0
        self.http2_served = self.http2_told = 0
        self.keys = itertools.count()

    def key(self) -> str:
        with self.lock:
            return f"drain-{next(self.keys):012}"

    def took(self, key: str, sent: float, stop: float | None) -> None:
        with self.lock:
            self.acknowledged.add(key)
            self.late += stop is not None and sent < stop

    def fail(self, text: str) -> None:
        with self.lock:
            self.failed.append(text)

    def count(self, name: str) -> None:
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)


class Stop:
    """When the stop was asked for; `None` before."""

    at: float | None = None


class Kept(threading.Thread):
    """Orders over a kept connection, one after another, until nobody accepts connections any more."""

    def __init__(self, service: Service, seen: Seen, stop: Stop) -> None:
        super().__init__(daemon=True)
        self.client, self.seen, self.stop = service.client(), seen, stop

    def run(self) -> None:
        key = self.seen.key()
        while True:
            reused, sent = self.client.socket is not None, time.monotonic()
            try:
                self.client.send("POST", "/v1/orders", key, ORDER)
            except ConnectionRefusedError:
                return self.turned_away()
            except OSError as error:
                if not reused:
                    return self.seen.fail(f"{key}: a new connection broke while sending: {error!r}")
                self.seen.count("reused_closed")
                continue
            try:
                answer = self.client.receive()
            except OSError as error:
                if not reused or self.client.partial:
                    return self.seen.fail(f"{key}: no whole answer on a {'reused' if reused else 'new'} connection: {error!r}")
                self.seen.count("reused_closed")
                continue
            if answer.status != 201:
                return self.seen.fail(f"{key}: {answer}")
            self.seen.took(key, sent, self.stop.at)
            key = self.seen.key()

    def turned_away(self) -> None:
        if self.stop.at is None:
            self.seen.fail("a connection was refused before the stop")
        else:
            self.seen.count("turned_away")


class Slow(threading.Thread):
    """Orders whose request takes its time to arrive, each on a connection of its own."""

    def __init__(self, service: Service, seen: Seen, stop: Stop) -> None:
        super().__init__(daemon=True)
        self.service, self.seen, self.stop = service, seen, stop

    def run(self) -> None:
        while True:
            key = self.seen.key()
            try:
                connection = socket.create_connection(("127.0.0.1", self.service.port), 15)
            except ConnectionRefusedError:
                if self.stop.at is None:
                    self.seen.fail("a slow client was refused before the stop")
                return
            before = self.stop.at is None
            try:
                with connection:
                    status = self.order(connection, key)
            except OSError as error:
                return self.seen.fail(f"{key}: a slow request broke: {error!r}")
            if status != 201:
                return self.seen.fail(f"{key}: a slow request was answered {status}")
            with self.seen.lock:
                self.seen.acknowledged.add(key)
                self.seen.slow_served += before and self.stop.at is not None

    def order(self, connection: socket.socket, key: str) -> int:
        head = (
            f"POST /v1/orders HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self.service.token}\r\n"
            f"idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {len(ORDER)}\r\n"
            "x-request-timeout-ms: 2500\r\nconnection: close\r\n\r\n"
        )
        request = (head + ORDER).encode()
        step = len(request) // 6 + 1
        for at in range(0, len(request), step):
            connection.sendall(request[at : at + step])
            time.sleep(SLOW_SECONDS / 6)
        answer = b""
        while got := connection.recv(65536):
            answer += got
        return int(answer[9:12] or 0)


class Http2:
    """A connection of HTTP/2 that is answered one `GET` after another; headers are read as far as `:status 200`."""

    OK = 0x88

    def __init__(self, service: Service) -> None:
        self.head = wire.block("GET", "/v1/orders", service.token)
        self.socket = socket.create_connection(("127.0.0.1", service.port), 15)
        self.frames = self.socket.makefile("rb")
        self.socket.sendall(wire.HELLO)
        self.stream, self.last = -1, None

    def ask(self) -> None:
        self.stream += 2
        self.socket.sendall(wire.frame(wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, self.stream, self.head))

    def answered(self) -> bool | None:
        """Whether the answer was good; `None` when the connection ended before its end."""
        good = False
        while (frame := self.next()) is not None:
            kind, flags, stream, payload = frame
            if stream == self.stream and kind == wire.RST_STREAM:
                return False
            if stream == self.stream and kind == wire.HEADERS:
                good |= payload[0] == self.OK
            if stream == self.stream and kind in (wire.HEADERS, wire.DATA) and flags & wire.END_STREAM:
                return good
        return None

    def next(self) -> tuple[int, int, int, bytes] | None:
        """The next frame; `None` at the end. What HTTP/2 asks to be acknowledged is."""
        head = self.frames.read(9)
        if len(head) < 9:
            return None
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream, payload = int.from_bytes(head[5:], "big"), self.frames.read(length)
        if kind in (wire.SETTINGS, wire.PING) and not flags & wire.ACK:
            self.acknowledge(wire.frame(kind, wire.ACK, 0, payload if kind == wire.PING else b""))
        if kind == wire.GOAWAY:
            self.last = int.from_bytes(payload[:4], "big")
        if kind == wire.DATA and length:
            self.acknowledge(wire.frame(wire.WINDOW_UPDATE, 0, 0, length.to_bytes(4, "big")))
        return kind, flags, stream, payload

    def acknowledge(self, frame: bytes) -> None:
        """Whoever has answered and gone needs no acknowledgement."""
        with contextlib.suppress(OSError):
            self.socket.sendall(frame)

    def close(self) -> None:
        self.frames.close()
        self.socket.close()


class KeptHttp2(threading.Thread):
    """Reads over kept connections of HTTP/2 until nobody accepts connections any more."""

    def __init__(self, service: Service, seen: Seen, stop: Stop) -> None:
        super().__init__(daemon=True)
        self.service, self.seen, self.stop = service, seen, stop

    def run(self) -> None:
        while True:
            try:
                connection = Http2(self.service)
            except ConnectionRefusedError:
                if self.stop.at is None:
                    self.seen.fail("a client of HTTP/2 was refused before the stop")
                return
            try:
                self.use(connection)
            finally:
                connection.close()

    def use(self, connection: Http2) -> None:
        """Asks until it is told to go; what it had asked by then is answered, or was not taken."""
        while connection.last is None:
            reused, good = connection.stream > 0, None
            try:
                connection.ask()
                good = connection.answered()
            except OSError:
                pass
            if good:
                self.seen.count("http2_served")
            elif good is None and (reused if connection.last is None else connection.stream > connection.last):
                return self.seen.count("reused_closed")
            else:
                return self.seen.fail(f"stream {connection.stream} on HTTP/2: {'no end' if good is None else 'a bad answer'}")
        if self.stop.at is not None:
            self.seen.count("http2_told")


class Watcher(threading.Thread):
    """Reads the live feed to its end, and remembers where it may go on."""

    def __init__(self, service: Service, after: int) -> None:
        super().__init__(daemon=True)
        self.after, self.seen, self.resume, self.wrong = after, [], None, ""
        self.connection = socket.create_connection(("127.0.0.1", service.port), 15)
        self.connection.sendall(
            f"GET /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {service.token}\r\n"
            f"accept: text/event-stream\r\nlast-event-id: {after}\r\n\r\n".encode()
        )

    def run(self) -> None:
        fields: dict[str, str] = {}
        try:
            with self.connection, self.connection.makefile("rb") as lines:
                for line in lines:
                    text = line.decode().strip()
                    name, colon, value = text.partition(":")
                    if colon and name in ("id", "event", "data"):
                        fields[name] = value.strip()
                    elif not text and fields:
                        self.told(fields)
                        fields = {}
        except OSError as error:
            self.wrong = f"the feed broke: {error!r}"

    def told(self, fields: dict[str, str]) -> None:
        if fields.get("event") == "drain":
            self.resume = int(json.loads(fields["data"])["next"])
        elif "id" in fields and "data" in fields:
            self.seen.append(int(fields["id"]))

    def verdict(self) -> str:
        """What is wrong with what it was told; empty if nothing."""
        last = self.seen[-1] if self.seen else self.after
        if self.wrong:
            return self.wrong
        if self.seen != list(range(self.after + 1, last + 1)):
            return f"after {self.after} came {self.seen[:3]}…{self.seen[-3:]}, {len(self.seen)} events"
        if self.resume != last:
            return f"ended at {last}, told to go on after {self.resume}"
        return ""


def deaf_http2(service: Service) -> socket.socket:
    """A client of HTTP/2 that was answered once, and from then on reads nothing and never goes."""
    connection = Http2(service)
    connection.ask()
    if not connection.answered():
        raise Failed("HTTP/2 is not answered")
    connection.frames.close()
    return connection.socket


def half_open(port: int, sent: bytes) -> socket.socket:
    """A client that never finishes what it began."""
    connection = socket.create_connection(("127.0.0.1", port), 15)
    connection.sendall(sent)
    return connection


def hanging_scraper(port: int) -> socket.socket:
    """Asks for the metrics, many times, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    try:
        for _ in range(2_000):
            connection.send(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    except BlockingIOError:
        pass
    return connection


class Hole:
    """A collector of traces that accepts and never answers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.held: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        try:
            while True:
                self.held.append(self.listener.accept()[0])
        except OSError:
            return



