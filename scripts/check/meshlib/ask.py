"""Single requests through the mesh, and what the replicas logged of them."""

import json
import subprocess
from http.client import HTTPConnection
from typing import Iterable, Iterator, NamedTuple

from clusterlib.stage import Replica, until

PATIENCE = 30


class Answer(NamedTuple):
    # Of gRPC its own, from 0; -1 when there is none.
    status: int
    headers: dict[str, str]
    body: bytes

    def code(self) -> str:
        """The code of the problem; empty when the service did not write this answer."""
        return json.loads(self.body).get("code", "") if self.body.startswith(b"{") else ""


def http(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: str | Iterator[bytes] | None = None,
    come_from: str = "127.0.0.1",
) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(come_from, 0))
    try:
        if body is not None:
            headers = {"content-type": "application/json", **(headers or {})}
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def grpc(port: int, call: str, message: bytes, headers: dict[str, str]) -> Answer:
    """A call with one message, by curl, which speaks HTTP/2; of the answer, its headers and trailers."""
    command = ["curl", "-sS", "--http2-prior-knowledge", "--max-time", str(PATIENCE), "-o", "/dev/null", "-D", "-"]
    for name, value in {"content-type": "application/grpc", "te": "trailers", **headers}.items():
        command += ["-H", f"{name}: {value}"]
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    done = subprocess.run([*command, "--data-binary", "@-", f"http://127.0.0.1:{port}{call}"], input=frame, capture_output=True)
    told = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            told[name.strip().lower()] = value.strip()
    return Answer(int(told.get("grpc-status", -1)), told, done.stderr)


def get_order(port: int, order: str, headers: dict[str, str]) -> Answer:
    """The call that reads an order."""
    return grpc(port, "/orders.v1.OrderService/GetOrder", b"\x0a" + bytes([len(order)]) + order.encode(), headers)


def logged(replicas: Iterable[Replica], request: str, tries: int = 1) -> list[dict]:
    """What the replicas logged of a request, the first try first, once there is something of so many tries."""
    found: list[dict] = []

    def all_there() -> bool:
        found[:] = lines(replicas, request)
        return len(found) >= tries

    until(f"{tries} log lines of request {request}", PATIENCE, all_there)
    return sorted(found, key=lambda line: line.get("attempt", 1))


def lines(replicas: Iterable[Replica], request: str) -> list[dict]:
    found = []
    for replica in replicas:
        for text in replica.log.read_text(errors="replace").splitlines():
            # The last may still be written.
            if request in text and text.endswith("}"):
                line = json.loads(text)
                if line.get("request_id") == request and line.get("message") == "request":
                    found.append(line)
    return found
