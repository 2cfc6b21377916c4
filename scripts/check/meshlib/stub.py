"""Something in a replica's place that answers as it is told to, or not at all, and is ready all the while."""

import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, NamedTuple


class Try(NamedTuple):
    """A request as it came."""

    at: float
    path: str
    attempt: str


class Stub:
    def __init__(self) -> None:
        self.lock, self.tries = threading.Lock(), []
        # The status of an answer to a path, given how many tries of it came before.
        self.answer: Callable[[str, int], int] = lambda path, before: 200
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                status = 200 if self.path == "/readyz" else stub.take(self)
                self.send_response(status)
                if status == 503:
                    self.send_header("retry-after", "1")
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: BaseHTTPRequestHandler) -> int:
        with self.lock:
            before = sum(seen.path == request.path for seen in self.tries)
            self.tries.append(Try(time.monotonic(), request.path, request.headers.get("x-envoy-attempt-count", "none")))
        return self.answer(request.path, before)


class Gone:
    """A port where nobody answers: it refuses connections, drops them, resets what is asked, or hangs."""

    def __init__(self, how: str) -> None:
        self.how, self.taken = how, []
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        if how == "drops":
            # With more of them than wait for being accepted, the next ones are left unanswered.
            self.socket.listen(0)
            self.taken = [self.waits() for _ in range(4)]
        elif how != "refuses":
            self.socket.listen()
            threading.Thread(target=self.accept, daemon=True).start()

    def waits(self) -> socket.socket:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", self.port))
        return connection

    def accept(self) -> None:
        while True:
            connection = self.socket.accept()[0]
            self.taken.append(connection)
            threading.Thread(target=self.ask, args=(connection,), daemon=True).start()

    def ask(self, connection: socket.socket) -> None:
        asked = connection.recv(65536)
        if asked and self.how == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
