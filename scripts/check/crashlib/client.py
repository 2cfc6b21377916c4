"""A client on a raw socket: what was sent and what came back is known to the byte."""

import json
import re
import socket
from typing import NamedTuple

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
REPLAYED = re.compile(rb"\r\nidempotent-replayed: *true", re.IGNORECASE)

ORDER = json.dumps({
    "customer_id": "c-1",
    "lines": [{"sku": "tea", "quantity": 2, "unit_price": {"amount_minor": "499", "currency": "EUR"}}],
})


class Answer(NamedTuple):
    status: int
    replayed: bool
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    def code(self) -> str:
        """The code of the problem."""
        return self.json().get("code", "") if self.body.startswith(b"{") else ""

    def __str__(self) -> str:
        return f"{self.status} {self.body[:200].decode(errors='replace')}"


class Client:
    """A keep-alive connection: opened when needed, dropped at the first error."""

    def __init__(self, port: int, token: str = "", timeout: float = 15) -> None:
        self.port, self.token, self.timeout = port, token, timeout
        self.socket, self.buffer = None, b""
        # Whether the last connection broke inside an answer.
        self.partial = False

    def ask(self, method: str, path: str, key: str | None = None, body: str | None = None, headers=()) -> Answer:
        self.send(method, path, key, body, headers)
        return self.receive()

    def send(self, method: str, path: str, key: str | None = None, body: str | None = None, headers=()) -> None:
        head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {self.token}", *headers]
        if key:
            head.append(f"idempotency-key: {key}")
        if body is not None:
            head += ["content-type: application/json", f"content-length: {len(body)}"]
        request = "\r\n".join([*head, "", body or ""]).encode()
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(request)
        except OSError:
            self.close()
            raise

    def receive(self) -> Answer:
        try:
            while (end := self.buffer.find(b"\r\n\r\n")) < 0:
                self._more()
            head, end = self.buffer[: end + 2], end + 4
            size = LENGTH.search(head)
            if not size:
                raise ConnectionError("an answer without a length")
            end_of_body = end + int(size[1])
            while len(self.buffer) < end_of_body:
                self._more()
        except OSError:
            self.partial = bool(self.buffer)
            self.close()
            raise
        body, self.buffer = self.buffer[end:end_of_body], self.buffer[end_of_body:]
        answer = Answer(int(head[9:12]), bool(REPLAYED.search(head)), body)
        if CLOSES.search(head):
            self.close()
        return answer

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket, self.buffer = None, b""

    def _more(self) -> None:
        got = self.socket.recv(65536)
        if not got:
            raise ConnectionError("closed before the end of the answer")
        self.buffer += got


def listed(client: Client) -> dict[str, int]:
    """Every order of the API, id → version, page by page."""
    found, token = {}, ""
    while True:
        answer = client.ask("GET", f"/v1/orders?page_size=100{token}")
        if answer.status != 200:
            raise ConnectionError(f"cannot list: {answer}")
        page = answer.json()
        found |= {order["id"]: order["version"] for order in page["orders"]}
        if not (following := page.get("next_page_token")):
            return found
        token = f"&page_token={following}"
