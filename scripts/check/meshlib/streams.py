"""What streams lives longer than any request may, on either side."""

import json
import time
from typing import Iterator

from crashlib.client import ORDER
from crashlib.table import Table
from meshlib import ask
from meshlib.calls import Calls
from meshlib.feed import Feed
from meshlib.scene import Scene, fresh

TITLE = "Streams: each kind is open for {seconds} s, under a far timeout of 1 s"
# Longer than the far side gives a request, and shorter than a batch may wait for its next line.
PACE = 1.2


def run(table: Table, scene: Scene, *, seconds: float) -> dict:
    feed = Feed(scene)
    feed.start()
    calls = Calls(scene, scene.mesh.near, "streams", seconds, scene.stage.placed())
    lines = max(2, round(seconds / PACE) + 1)
    headers = scene.headers(content_type="application/x-ndjson", idempotency_key=fresh("batch"))
    answer = ask.http(scene.mesh.near, "POST", "/v1/orders/batch", headers, slowly(lines))
    table.claim("a batch over HTTP: status", 200, answer.status)
    told = [json.loads(line) for line in answer.body.splitlines()]
    table.claim("a batch over HTTP: orders that were placed", lines, sum("order" in line for line in told))
    for call, works in calls.told().items():
        table.claim(f"{call}: works on", 1, int(works))
    feed.until_told()
    table.claim("the live feed over HTTP: times that it had to be opened", 1, feed.opened)
    table.none("what befell the live feed over HTTP", feed.failed)
    table.none("events that it skipped or told twice", feed.skipped_or_twice())
    return {"requests": lines, "seconds_open": seconds}


def slowly(lines: int) -> Iterator[bytes]:
    for number in range(lines):
        if number:
            time.sleep(PACE)
        yield f'{{"order":{ORDER}}}\n'.encode()
