"""What the rows stand on: a database, two replicas, and the mesh before them."""

import json
import uuid
from pathlib import Path

from clusterlib.stage import Replica, Stage
from crashlib.client import ORDER
from crashlib.service import Failed
from crashlib.table import Table
from meshlib import ask
from meshlib.envoys import Mesh
from pglib import Postgres

# Longer than it takes until the service's side has asked for readiness, and has told its workers of a change.
SETTINGS = ("lifecycle.lame_duck=2s",)


class Scene:
    def __init__(self, orderly: str, work: Path, postgres: Postgres) -> None:
        self.stage = Stage(orderly, work / "stage", postgres)
        self.replicas = [Replica(self.stage, f"replica-{number}", "all", SETTINGS) for number in (1, 2)]
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.until_ready()
        ports = [(replica.port, replica.admin_port) for replica in self.replicas]
        self.mesh = Mesh(work / "mesh", ports).start()

    def headers(self, **more: str) -> dict[str, str]:
        """What every request carries; `_` stands for `-` in a name."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"authorization": f"Bearer {self.stage.token}", **named}

    def place(self) -> str:
        """The id of a new order."""
        answer = ask.http(self.mesh.near, "POST", "/v1/orders", self.headers(idempotency_key=fresh("place")), ORDER)
        if answer.status != 201:
            raise Failed(f"an order is answered {answer.status}: {answer.body[:200]!r}")
        return json.loads(answer.body)["id"]

    def end(self, table: Table) -> None:
        for replica in self.replicas:
            table.claim(f"exit code of {replica.work.name} at the end", 0, replica.stop())
        self.mesh.stop()


def fresh(name: str) -> str:
    """A key, or the id of a request, that nobody has used."""
    return f"{name}-{uuid.uuid4().hex}"
