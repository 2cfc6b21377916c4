"""A request has one name from the client to the service's log line, over HTTP and over gRPC."""

import re
import secrets

from crashlib.table import Table
from meshlib import ask
from meshlib.scene import Scene, fresh

TITLE = "Traces: {requests} requests over HTTP and over gRPC each"
# As Envoy makes them; ours have no hyphens.
OF_ENVOY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run(table: Table, scene: Scene, *, requests: int) -> dict:
    order = scene.place()
    refused, parted, unnamed, renamed, repeated = [], [], [], [], []
    for number in range(2 * requests):
        trace, own = secrets.token_hex(16), fresh("till") if number % 4 > 1 else None
        headers = scene.headers(traceparent=f"00-{trace}-{secrets.token_hex(8)}-01", **({"x_request_id": own} if own else {}))
        if number % 2:
            answer, wanted = ask.get_order(scene.mesh.near, order, headers), 0
        else:
            answer, wanted = ask.http(scene.mesh.near, "GET", f"/v1/orders/{order}", headers), 200
        if answer.status != wanted:
            refused.append(f"{answer.status} {answer.body[:100]!r}")
            continue
        request = answer.headers.get("x-request-id", "")
        if own and request != own:
            renamed.append(f"{own}: {request}")
        if not own and not OF_ENVOY.fullmatch(request):
            unnamed.append(request)
        # It is ours to log: the same id, the client's trace, and the first try, which is not told.
        line = ask.logged(scene.replicas, request)[0]
        if line["trace_id"] != trace or trace not in answer.headers.get("traceparent", ""):
            parted.append(f"{trace}: {line['trace_id']}")
        if "attempt" in line:
            repeated.append(f"{request}: {line['attempt']}")
    table.none("requests that were refused", refused)
    table.none("requests whose log line or answer has another trace", parted)
    table.none("requests whose id in the log is not the one that Envoy gave", unnamed)
    table.none("requests whose id is not the one that the client gave", renamed)
    table.none("requests that were logged as tried again", repeated)
    return {"requests": 2 * requests}
