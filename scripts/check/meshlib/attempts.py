"""The database is away: what is refused is tried again by one layer, with its number, and takes effect once."""

import json

from clusterlib.stage import until
from crashlib.client import ORDER
from crashlib.table import Table
from meshlib import ask
from meshlib.scene import Scene, fresh

TITLE = "Attempts: the database goes away; the client's side tries again what is safe or has a key"
NOTE = json.dumps({"text": "ring twice"})
# The first, and as many more as the client's side makes.
TRIES = [1, 2, 3]
UNAVAILABLE = 14


def run(table: Table, scene: Scene) -> dict:
    order, key = scene.place(), fresh("away")
    near, replicas, stage = scene.mesh.near, scene.replicas, scene.stage
    stage.postgres.stop()
    until("the replicas know that the database is away", 30, lambda: all(replica.metric("store_up") == 0 for replica in replicas))
    for what, method, path, body, more, tries in (
        ("a read", "GET", f"/v1/orders/{order}", None, {}, TRIES),
        ("an order with a key", "POST", "/v1/orders", ORDER, {"idempotency_key": key}, TRIES),
        ("a note without a key", "POST", f"/v1/orders/{order}/notes", NOTE, {}, [1]),
    ):
        request = fresh("away")
        answer = ask.http(near, method, path, scene.headers(x_request_id=request, **more), body)
        table.claim(f"{what}: status", 503, answer.status)
        table.claim(f"{what}: seconds of Retry-After", 1, int(answer.headers.get("retry-after", 0)))
        refused = ask.logged(replicas, request, len(tries))
        logged = [line.get("attempt", 1) for line in refused]
        table.claim(f"{what}: tries that were logged with their number", len(tries), len(logged) if logged == tries else 0)
        wrong = [line.get("code", "none") for line in refused if line.get("code") != "store-unavailable"]
        table.none(f"{what}: tries that were refused otherwise", wrong)
    request = fresh("client")
    # As a client of gRPC counts its own tries, which Envoy knows nothing of.
    answer = ask.get_order(near, order, scene.headers(x_request_id=request, grpc_previous_rpc_attempts="1"))
    table.claim("a call of gRPC: status", UNAVAILABLE, answer.status)
    logged = [line.get("attempt", 1) for line in ask.logged(replicas, request)]
    table.claim("a call of gRPC: logged as the second try of its client", 2, max(logged))
    table.claim("replicas that are ready all the while", len(replicas), sum(replica.readyz() == 200 for replica in replicas))

    stage.postgres.start()
    until("the replicas know that the database is back", 30, lambda: all(replica.metric("store_up") == 1 for replica in replicas))
    scene.mesh.until_well()
    answer = ask.http(near, "POST", "/v1/orders", scene.headers(idempotency_key=key), ORDER)
    table.claim("the order, when its client asks once more: status", 201, answer.status)
    table.claim("orders of its key", 1, stage.number(f"SELECT count(*) FROM orders WHERE create_key = '{key}'"))
    table.claim("versions of the order that was not noted on", 1, stage.number(f"SELECT version FROM orders WHERE id = '{order}'"))
    return {"requests": 5}
