"""Part 1: kill -9 at random instants under eight writers."""

import random
import time
from pathlib import Path

from crashlib.client import listed
from crashlib.service import Service
from crashlib.table import Table, percentile
from crashlib.writers import Crew, judge, stored

READY_SECONDS = 2.0
AUDIT_EVERY = 20
EMPTIES_OFTEN = ["store.wal_limit=1048576"]


def run(table: Table, orderly: str, work: Path, seed: int, *, kills: int) -> dict:
    table.part(f"kill -9 at {kills} random instants, 8 writers that create, confirm and note")
    chance = random.Random(f"kills/{seed}")
    service = Service(orderly, work)
    usual = service.settings
    service.start()
    ready, findings, audits, early = [], [], 0, 0
    service.until_ready()
    crew = Crew(service, f"kills/{seed}")
    crew.start()
    for kill in range(1, kills + 1):
        if chance.random() < 0.1:
            # While it recovers: the process before was killed as well.
            early += 1
            service.kill()
            service.start()
            time.sleep(chance.uniform(0.0, 0.05))
        else:
            time.sleep(chance.uniform(0.01, 0.5))
        service.kill()
        if kill % AUDIT_EVERY == 0 and kill % (2 * AUDIT_EVERY):
            # As the kill left it; every other time beside the service, while it writes.
            findings += service.findings()
            audits += 1
        # Every other life empties its log often, so that kills hit that as well.
        service.settings = EMPTIES_OFTEN if kill % 2 else usual
        service.start()
        ready.append(service.until_ready())
        if kill % (2 * AUDIT_EVERY) == 0:
            findings += service.findings()
            audits += 1
    crew.stop()
    api = listed(service.client())
    table.claim("exit code of the orderly stop at the end", 0, service.stop())
    findings += service.findings()
    counts = judge(table, crew, api, stored(service.store))
    table.none("torn: what the audits found", findings)
    cut, kept = crew.total(lambda w: w.cut), crew.total(lambda w: w.cut_after_commit)
    table.at_least("kills", kills, kills + early)
    table.at_least("requests that a kill left without an answer", kills, cut)
    table.within("ready again, p99 (s)", READY_SECONDS, round(percentile(ready, 0.99), 3))
    table.shown("ready again, most (s)", round(max(ready), 3))
    table.shown("acknowledged changes", counts["acknowledged_changes"])
    table.shown("acknowledged orders", counts["acknowledged_orders"])
    table.shown("requests without an answer that had been committed", kept)
    table.shown("old keys asked again after a kill", crew.total(lambda w: w.asked_again))
    table.shown("audits", audits + 1)
    return counts | {
        "kills": kills + early,
        "kills_during_recovery": early,
        "unanswered": cut,
        "unanswered_but_committed": kept,
        "old_keys_asked_again": crew.total(lambda w: w.asked_again),
        "audits": audits + 1,
        "ready_again_p50_s": round(percentile(ready, 0.5), 3),
        "ready_again_p99_s": round(percentile(ready, 0.99), 3),
        "ready_again_max_s": round(max(ready), 3),
    }
