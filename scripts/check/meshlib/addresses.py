"""Whom the service counts by address: who called the mesh, and not whom they say to speak for."""

from http.client import HTTPSConnection

from clusterlib.stage import Replica
from crashlib.table import Table
from meshlib import ask, identities
from meshlib.envoys import NEAR, Mesh
from meshlib.scene import Scene

TITLE = "Addresses: a caller makes up whom it speaks for"
CALLER, OTHER = "127.0.0.9", "127.0.0.10"
# Both sides of the mesh speak for others. Of requests without a key, which count as 20, there are five.
SETTINGS = (
    f'server.trusted_proxies=["127.0.0.1/32", "{NEAR}/32"]',
    "limits.address.per_second=1",
    "limits.address.burst=100",
    "lifecycle.lame_duck=0s",
)
# Of each kind. While they are asked, what comes back of the limit is not enough for all.
ASKED = 20


def run(table: Table, scene: Scene) -> dict:
    replica = Replica(scene.stage, "counts", "api", SETTINGS)
    replica.start()
    replica.until_ready()
    mesh = Mesh(scene.stage.work / "counting", [(replica.port, replica.admin_port)] * 2).start()
    name, key = "x-forwarded-for", scene.headers()
    # No two of these say that they speak for the same one.
    names = [f"203.0.113.{number}" for number in range(3 * ASKED)]
    try:
        unknown = [asked(mesh, CALLER, {name: one}) for one in names[:ASKED]]
        known = [asked(mesh, CALLER, {name: one, **key}) for one in names[ASKED : 2 * ASKED]]
        # With the certificate of the client's side, and without what that writes.
        straight = [past_near(mesh, {name: one, **key}) for one in names[2 * ASKED :]]
        blamed = [asked(mesh, CALLER, {name: OTHER}) for _ in range(ASKED)]
        other = asked(mesh, OTHER, key)
    finally:
        mesh.stop()
    table.claim("the first request: status", 401, unknown[0])
    for what, statuses in (("without a key", unknown), ("under a key", known), ("past the client's side", straight)):
        table.at_least(f"in a new name each, {what}: limited", 1, statuses.count(429))
    table.at_least("in the name of one other caller: limited", 1, blamed.count(429))
    table.claim("a request of that other caller: status", 200, other)
    table.claim("exit code of the replica that counts", 0, replica.stop())
    return {"requests": 4 * ASKED + 1}


def asked(mesh: Mesh, come_from: str, headers: dict[str, str]) -> int:
    return ask.http(mesh.near, "GET", "/v1/orders", headers, come_from=come_from).status


def past_near(mesh: Mesh, headers: dict[str, str]) -> int:
    till = identities.context(mesh, "till")
    connection = HTTPSConnection("127.0.0.1", mesh.far, timeout=ask.PATIENCE, source_address=(CALLER, 0), context=till)
    try:
        connection.request("GET", "/v1/orders", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
