"""The real baskets, into PostgreSQL and into the embedded store, by the same check with the same judge."""

import json
import os
import subprocess
import sys

from crashlib.service import TIED
from crashlib.table import Table
from lib import ROOT

TITLE = "Baskets: {baskets}, by `check-orders` on either store"
CHECK = ROOT / "scripts" / "check" / "orders"
FIGURES = {"orders_per_second": "lines a second", "store_mib": "size of the store (MiB)", "peak_rss_mib": "most memory (MiB)"}


def run(table: Table, orderly: str, work, *, baskets: str, limit: int | None) -> dict:
    work.mkdir(parents=True)
    results = {}
    for store, options in (("PostgreSQL", ["--postgres"]), ("embedded", [])):
        figures = work / f"{store}.json"
        command = [*TIED, sys.executable, CHECK, "--figures", figures, *options]
        command += ["--limit", limit] if limit else []
        done = subprocess.run([str(word) for word in command], env={**os.environ, "ORDERLY_BIN": orderly})
        table.claim(f"{store}: exit code of the check", 0, done.returncode)
        results[store] = json.loads(figures.read_text()) if figures.exists() else {}
    for figure, what in FIGURES.items():
        for store, found in results.items():
            table.shown(f"{store}: {what}", found.get(figure, 0))
    for count in ("accepted", "replayed", "refused"):
        table.claim(f"{count}, on PostgreSQL as in the embedded store", *(found.get(count, 0) for found in results.values()))
    return {"requests": sum(found.get("lines", 0) for found in results.values()), **results}
