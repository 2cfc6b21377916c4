"""Clients that place orders and change them, each request under a key of its own, at a steady rate."""

import itertools
import json
import threading
import time

from crashlib.client import ORDER, Client

# What the life of an order is after it was placed, drawn in turn.
LIVES = [("notes",), ("notes", "confirm"), ("confirm", "cancel"), ("cancel",), ("notes", "confirm", "notes", "cancel")]
NOTE = json.dumps({"text": "ring twice"})
# A client may ask again when a connection that it used before closes before the first byte of an answer.
TRIES = 5
# What a client with patience asks again, and after how long.
UNAVAILABLE = (500, 503)
PAUSE = 0.05


class Load:
    """So many clients, which know what was acknowledged and what failed.

    With patience they ask again, under the same key, for as many seconds as the service is unavailable.
    """

    def __init__(
        self, name: str, ports: list[int], token: str, *, clients: int, rate: float, patience: float = 0.0
    ) -> None:
        self.name, self.ports, self.token, self.rate, self.patience = name, ports, token, rate, patience
        self.lock, self.turns = threading.Lock(), itertools.count()
        self.stopping = threading.Event()
        self.failed: list[str] = []
        self.created: dict[str, str] = {}
        self.requests = self.reused_closed = 0
        self.slowest = 0.0
        self.answered_at: list[float] = []
        # How long each refusal took that was asked again.
        self.refusals: list[float] = []
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(clients)]

    def start(self) -> "Load":
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                self._fail("a client had neither an answer nor an end within a minute")

    def _work(self, number: int) -> None:
        client = Client(self.ports[number % len(self.ports)], self.token)
        try:
            for life in itertools.cycle(LIVES[number % len(LIVES) :] + LIVES[: number % len(LIVES)]):
                if not self._live(client, life):
                    return
        finally:
            client.close()

    def _live(self, client: Client, life: tuple[str, ...]) -> bool:
        """An order from its place to its end; false when it is time to stop."""
        key, ready = self._turn()
        if not ready:
            return False
        answer = self._ask(client, "/v1/orders", key, ORDER, 201)
        if answer is None:
            return True
        order = answer["id"]
        with self.lock:
            self.created[key] = order
        for step in life:
            key, ready = self._turn()
            if not ready:
                return False
            self._ask(client, f"/v1/orders/{order}/{step}", key, NOTE if step == "notes" else None, 200)
        return True

    def _turn(self) -> tuple[str, bool]:
        """A key, and when its request is due by the clock, whatever answers take."""
        with self.lock:
            turn = next(self.turns)
        wait = self.began + turn / self.rate - time.monotonic() if self.rate else 0
        return f"{self.name}-{turn:012}", not self.stopping.wait(max(0.0, wait))

    def _ask(self, client: Client, path: str, key: str, body: str | None, wanted: int) -> dict | None:
        """The answer to a request; `None` when it failed, which is noted."""
        began, closed = time.monotonic(), 0
        while True:
            asked, reused = time.monotonic(), client.socket is not None
            try:
                answer = client.ask("POST", path, key, body, [] if body is not None else ["content-length: 0"])
            except OSError as error:
                if reused and not client.partial and closed < TRIES:
                    closed += 1
                    with self.lock:
                        self.reused_closed += 1
                    continue
                return self._fail(f"{key}: {'half an answer' if client.partial else 'no answer'}: {error!r}")
            now = time.monotonic()
            if answer.status in UNAVAILABLE and now < began + self.patience:
                with self.lock:
                    self.refusals.append(now - asked)
                time.sleep(PAUSE)
                continue
            with self.lock:
                self.requests += 1
                self.slowest = max(self.slowest, now - began)
            # A replay is answered 200 or as the first time: the order is what counts.
            if answer.status == wanted or (answer.replayed and answer.status in (200, 201)):
                with self.lock:
                    self.answered_at.append(now)
                return answer.json()
            return self._fail(f"{key}: {answer}")

    def _fail(self, text: str) -> None:
        with self.lock:
            self.failed.append(text)
