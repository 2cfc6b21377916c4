"""A consumer of the live feed through the mesh, which goes on where it was whenever the feed ends."""

import threading
from http.client import HTTPConnection, HTTPException

from clusterlib.stage import until
from meshlib.scene import Scene

# What a feed ends with when its replica stops.
DRAIN = "drain"
PROBLEM = "problem"
# Feeds say something every 15 s.
SILENCE = 40


class Feed(threading.Thread):
    def __init__(self, scene: Scene) -> None:
        super().__init__(daemon=True)
        self.scene, self.ending = scene, threading.Event()
        self.first = self.next = scene.stage.placed()
        # The positions of the events that were told, as they came.
        self.told: list[int] = []
        # How often it was opened, how often it ended with a drain, and what else befell it.
        self.opened, self.drained, self.failed = 0, 0, []

    def run(self) -> None:
        while not self.ending.is_set() and not self.failed:
            connection = HTTPConnection("127.0.0.1", self.scene.mesh.near, timeout=SILENCE)
            try:
                self.read(connection)
            except (OSError, HTTPException, ValueError) as error:
                self.failed.append(f"after {self.next}: {error!r}")
            finally:
                connection.close()

    def read(self, connection: HTTPConnection) -> None:
        """Takes what one feed tells, until it ends."""
        headers = self.scene.headers(accept="text/event-stream", last_event_id=str(self.next))
        connection.request("GET", "/v1/events", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"{answer.status} {answer.read()[:200]!r}")
        self.opened += 1
        frame, last = {}, ""
        for line in answer:
            if self.ending.is_set():
                return
            name, _, value = line.decode().rstrip("\n").partition(":")
            if line.strip():
                frame[name] = value.strip()
                continue
            # A frame counts when the empty line after it has come, and not before.
            position, last = int(frame.get("id", self.next)), frame.get("event", last)
            if "data" in frame and last not in (DRAIN, PROBLEM):
                self.told.append(position)
            self.next, frame = position, {}
        if last != DRAIN:
            raise OSError(f"a feed ended without having said so, after {last or 'nothing'}")
        self.drained += 1

    def until_told(self) -> None:
        """Waits for all that is committed, and ends."""
        placed = self.scene.stage.placed()
        until("the live feed tells what is committed", 30, lambda: self.next >= placed or self.failed)
        self.ending.set()

    def skipped_or_twice(self) -> list[str]:
        """How what was told differs from what is committed."""
        rows = f"SET orderly.tenant = '*'; SELECT position FROM events WHERE position > {self.first} ORDER BY position"
        committed = [int(position) for (position,) in self.scene.stage.sql(rows)]
        if self.told == committed:
            return []
        missing, told = set(committed) - set(self.told), set(self.told)
        wrong = [f"{position} was not told" for position in sorted(missing)]
        wrong += [f"{len(self.told) - len(told)} were told twice"] * (len(told) < len(self.told))
        wrong += [f"{position} is not there" for position in sorted(told - set(committed))]
        return wrong or ["they were told in another order"]
