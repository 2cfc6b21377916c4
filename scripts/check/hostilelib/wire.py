"""The bytes that peers send which speak HTTP/2 by hand, most of them hostile."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


HELLO = PREFACE + frame(SETTINGS, 0, 0)


def literal(name: str, value: str) -> bytes:
    """A header field of HPACK that is written out and not kept."""

    def text(part: str) -> bytes:
        raw = part.encode()
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        rest, length = len(raw) - 127, b""
        while rest >= 128:
            length, rest = length + bytes([rest % 128 + 128]), rest // 128
        return b"\x7f" + length + bytes([rest]) + raw

    return b"\x00" + text(name) + text(value)


def block(method: str, path: str, token: str) -> bytes:
    """The header block of a request."""
    fields = [(":method", method), (":scheme", "http"), (":authority", "127.0.0.1"), (":path", path)]
    fields += [("authorization", f"Bearer {token}")] if token else []
    fields += [("content-type", "application/x-ndjson")] if method == "POST" else []
    return b"".join(literal(name, value) for name, value in fields)


def request_head(method: str, path: str, token: str, *more: str) -> bytes:
    """The head of a request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *more]
    lines += [f"authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode()
