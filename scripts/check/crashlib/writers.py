"""Writers that keep what was acknowledged, and the judge that holds it against the store."""

import json
import random
import sqlite3
import threading
import time
import uuid
from collections import Counter, deque
from pathlib import Path
from typing import Callable, Iterable, NamedTuple

from crashlib.client import ORDER, Answer
from crashlib.service import Service
from crashlib.table import Table

PAUSE = 0.003


class Acknowledged(NamedTuple):
    """A change that was answered with success: when it was sent, when the answer came."""

    sent: float
    received: float
    key: str


class Writer(threading.Thread):
    """One client: creates, confirms, notes; sends a request again under its key until it is answered.

    No other client changes its orders, so it knows the version that every answer must have.
    """

    def __init__(self, service: Service, name: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.chance, self.connection = random.Random(f"{seed}/{name}"), service.client()
        self.stopping, self.count = threading.Event(), 0
        self.versions: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.pending: list[str] = []
        self.recent: deque[str] = deque(maxlen=50)
        self.acknowledged: list[Acknowledged] = []
        self.refused_full: list[tuple[float, str]] = []
        self.wrong: list[str] = []
        self.cut = self.cut_after_commit = self.asked_again = 0

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.step()
        except Exception as error:  # noqa: BLE001 - a writer that ends early must not pass unseen
            self.wrong.append(f"writer {self.name} ended by {error!r}")

    def step(self) -> None:
        choice = self.chance.random()
        if choice < 0.5 or not self.versions:
            self.create()
        elif choice < 0.75 and self.pending:
            self.change(self.pending.pop(), "confirm", "{}")
        else:
            self.change(self.chance.choice(self.recent), "notes", None)

    def create(self) -> None:
        key = self.next_key("create")
        answer = self.settle("/v1/orders", key, ORDER, 201)
        if not answer:
            return
        order = answer.json()
        if order["version"] != 1:
            self.wrong.append(f"a new order at version {order['version']}: {order['id']}")
        self.versions[order["id"]], self.keys[key] = 1, order["id"]
        self.pending.append(order["id"])
        self.recent.append(order["id"])

    def change(self, order: str, verb: str, body: str | None) -> None:
        key = self.next_key(verb)
        body = body or json.dumps({"text": key})
        answer = self.settle(f"/v1/orders/{order}/{verb}", key, body, 200)
        if not answer:
            return
        found, wanted = answer.json()["version"], self.versions[order] + 1
        if found != wanted:
            self.wrong.append(f"{verb} answered version {found}, not {wanted}: {order}")
        self.versions[order] = max(found, self.versions[order])
        if verb == "notes":
            self.notes[key] = order

    def settle(self, path: str, key: str, body: str, wanted: int) -> Answer | None:
        """Asks until there is a definite answer; `None` when that is a no."""
        cut = False
        while True:
            sent = time.monotonic()
            try:
                answer = self.connection.ask("POST", path, key, body)
            except ConnectionRefusedError:
                time.sleep(PAUSE)
                continue
            except OSError:
                cut = True
                time.sleep(PAUSE)
                continue
            if answer.status == 507 and answer.code() == "store-full" and not cut:
                self.refused_full.append((time.monotonic(), key))
                time.sleep(PAUSE)
                return None
            if answer.status not in (503, 504, 507):
                break
            # A caller that was told "unknown" asks again under its key, as one that was told nothing.
            cut = True
            time.sleep(PAUSE)
        received = time.monotonic()
        if answer.status != wanted or answer.replayed and not cut:
            self.wrong.append(f"{path}: {answer}")
            return None
        self.cut += cut
        self.cut_after_commit += cut and answer.replayed
        if not answer.replayed:
            self.acknowledged.append(Acknowledged(sent, received, key))
        if cut:
            self.ask_an_old_key()
        return answer

    def ask_an_old_key(self) -> None:
        """After a crash a key that was answered before must name the same order."""
        if not self.keys:
            return
        key = self.chance.choice(list(self.keys))
        try:
            answer = self.connection.ask("POST", "/v1/orders", key, ORDER)
        except OSError:
            return
        if answer.status == 201:
            self.asked_again += 1
            if not answer.replayed or answer.json()["id"] != self.keys[key]:
                self.wrong.append(f"key {key} of {self.keys[key]} names another order: {answer}")

    def next_key(self, verb: str) -> str:
        self.count += 1
        return f"{verb}-{self.name}-{self.count:08}-key"


class Crew:
    """Eight writers."""

    def __init__(self, service: Service, seed: str, size: int = 8) -> None:
        self.writers = [Writer(service, f"w{number}", seed) for number in range(size)]

    def start(self) -> None:
        for writer in self.writers:
            writer.start()

    def stop(self) -> None:
        """Lets every writer finish the request it is at: afterwards nothing is open."""
        for writer in self.writers:
            writer.stopping.set()
        for writer in self.writers:
            writer.join(60)
            if writer.is_alive():
                writer.wrong.append(f"writer {writer.name} got no answer within 60 s")

    def total(self, of: Callable[[Writer], int]) -> int:
        return sum(map(of, self.writers))

    def all(self, of: Callable[[Writer], Iterable]) -> list:
        return [item for writer in self.writers for item in of(writer)]

    def merged(self, of: Callable[[Writer], dict]) -> dict:
        return {key: value for writer in self.writers for key, value in of(writer).items()}

    @property
    def changes(self) -> int:
        """How many changes were acknowledged: an order at version 5 had 5."""
        return self.total(lambda writer: sum(writer.versions.values()))


def judge(table: Table, crew: Crew, api: dict[str, int], file: "Stored") -> dict:
    """Holds what was acknowledged against what the API lists, and against the file, read by other means."""
    versions, keys = crew.merged(lambda w: w.versions), crew.merged(lambda w: w.keys)
    notes, places = crew.merged(lambda w: w.notes), Counter(file.notes)
    more = {order: api[order] - version for order, version in versions.items() if order in api}
    table.none("lost: acknowledged orders that cannot be read", versions.keys() - api.keys())
    table.none("lost: acknowledged changes of orders", [order for order, by in more.items() if by < 0])
    table.none("lost: acknowledged notes", [note for note, order in notes.items() if not places[note, order]])
    table.none("twice: orders with a change that nobody asked for", [order for order, by in more.items() if by > 0])
    table.none("twice: notes that are there more than once", [str(note) for note, times in places.items() if times > 1])
    astray = [key for key, order in keys.items() if file.orders.get(key) != order]
    table.none("keys whose order is not the acknowledged one", astray)
    table.none("keys with two orders", file.twice)
    table.none("orders that nobody asked for", file.orders.keys() - keys.keys())
    table.none("orders that the API and the file do not both have", set(file.orders.values()) ^ api.keys())
    table.none("answers that are not as they must be", crew.all(lambda w: w.wrong))
    return {"acknowledged_orders": len(versions), "acknowledged_changes": crew.changes}


class Stored(NamedTuple):
    orders: dict[str, str]
    twice: list[str]
    notes: list[tuple[str, str]]


def stored(path: Path) -> Stored:
    """What the file holds: create key → order, keys with two orders, notes with their order."""
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT create_key, id FROM orders").fetchall()
        notes = db.execute("SELECT text, order_id FROM notes").fetchall()
    times = Counter(key for key, _ in rows)
    return Stored(
        {key: str(uuid.UUID(bytes=order)) for key, order in rows},
        [key for key, count in times.items() if count > 1],
        [(text, str(uuid.UUID(bytes=order))) for text, order in notes],
    )
