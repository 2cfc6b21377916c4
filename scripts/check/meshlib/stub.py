"""Something in a replica's place that answers as it is told to, and is ready all the while."""

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
