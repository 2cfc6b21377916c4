"""Nine peers that are slow or stop, each on a connection of its own, all at once."""

import select
import socket
import threading
import time
from typing import Callable, NamedTuple

from hostilelib import wire
from hostilelib.targets import Target


class Slow(NamedTuple):
    """What it sends at once, what it sends each second after that, and the limit that is to end it."""

    name: str
    limit: str
    opening: Callable[[Target], bytes]
    drip: bytes = b""


PATTERNS = [
    Slow("silent TCP", "first byte", lambda t: b""),
    Slow("half a request line", "header", lambda t: b"GET / HT"),
    Slow("dripped headers", "header", lambda t: b"GET / HTTP/1.1\r\nhost: a\r\nx-a: ", b"a"),
    Slow("dripped body", "deadline", lambda t: wire.request_head("POST", t.post, t.token, "content-type: application/json", "idempotency-key: hostile-dripped-body", "content-length: 1000"), b" "),
    Slow("idle keep-alive", "idle", lambda t: wire.request_head("GET", t.get, t.token)),
    Slow("half an h2 preface", "header", lambda t: wire.PREFACE[:12]),
    Slow("preface, then silence", "idle", lambda t: wire.HELLO),
    Slow("unfinished HEADERS", "header", lambda t: wire.HELLO + wire.frame(wire.HEADERS, wire.END_STREAM, 1, wire.block("GET", t.get, t.token))),
    Slow("body never sent", "body idle", lambda t: wire.request_head("POST", t.stream, t.token, "content-type: application/x-ndjson", "content-length: 1000")),
]


def run(target: Target, patience: float) -> dict[str, float | None]:
    """How long each lived after its last useful byte; None for those that still did after `patience` seconds."""
    found = {}
    peers = [threading.Thread(target=_live, args=(target, slow, patience, found)) for slow in PATTERNS]
    for peer in peers:
        peer.start()
    for peer in peers:
        peer.join()
    return found


def _live(target: Target, slow: Slow, patience: float, found: dict) -> None:
    peer = socket.create_connection((target.host, target.port), 5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(slow.opening(target))
    began = time.monotonic()
    found[slow.name] = None
    while time.monotonic() - began < patience:
        try:
            if select.select([peer], [], [], 1.0 if slow.drip else 0.1)[0]:
                if not peer.recv(1 << 16):
                    break
            elif slow.drip:
                peer.sendall(slow.drip)
        except OSError:
            break
    else:
        peer.close()
        return
    found[slow.name] = time.monotonic() - began
    peer.close()
