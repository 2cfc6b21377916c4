"""A provider that lies about what gateway-sim cannot: it stands before one and changes its answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from crashlib.client import Client
from paylib.provider import SECRET

NOBODY = "00000000-0000-7000-8000-000000000000"
LIES = {
    "another reference": lambda told: told | {"reference": NOBODY},
    "another payment": lambda told: told | {"payment": NOBODY},
    "another kind": lambda told: told | {"kind": "refund"},
    "no known status": lambda told: told | {"status": "probably"},
    "no JSON": lambda told: None,
}


class Liar:
    """Listens on a port of its own while it lives."""

    def __init__(self, provider_port: int) -> None:
        self.lie, liar = "", self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on(None)

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers["content-length"])).decode())

            def _pass_on(self, body: str | None) -> None:
                client = Client(provider_port, SECRET)
                answer = client.ask(self.command, self.path, self.headers.get("idempotency-key"), body)
                client.close()
                told = answer.body
                if liar.lie and answer.status == 200:
                    changed = LIES[liar.lie](answer.json())
                    told = b"<html>" if changed is None else json.dumps(changed).encode()
                self.send_response(answer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
