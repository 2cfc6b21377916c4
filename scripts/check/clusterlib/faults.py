"""PostgreSQL's connections are lost under their commit: what was acknowledged is there, once."""

import json
import subprocess

from crashlib.service import TIED, Failed
from crashlib.table import Table
from lib import ROOT, built

TITLE = "Connections to PostgreSQL: {trials:,} orders for each way in which one is lost under their commit; calls dropped at each await"
EXAMPLE = ROOT / "crates" / "orders-adapters" / "examples" / "pg_faults.rs"


def run(table: Table, orderly: str, work, *, trials: int) -> dict:
    del orderly, work
    if not EXAMPLE.exists():
        raise Failed(f"{EXAMPLE.relative_to(ROOT)} is missing")
    program = built("orders-adapters", "example", "pg_faults", ["postgres"])
    done = subprocess.run([*TIED, program, "--trials", str(trials)], stdout=subprocess.PIPE, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed(f"pg_faults ended with {done.returncode} and without a result")
    ways = json.loads(lines[-1])
    dropped = ways.pop("dropped")
    for way, outcome in ways.items():
        name = way.replace("_", " ")
        table.claim(f"{name}: orders tried", trials, outcome["trials"])
        # Only the first kind cannot miss its commit.
        table.at_least(f"{name}: connections lost", trials if way == "after_commit" else trials // 4, outcome["resets"])
        for kind in ("lost", "duplicates", "findings"):
            table.claim(f"{name}: {kind}", 0, outcome[kind])
    for call, awaits in dropped.items():
        # After each of them the next caller of the one connection was served, or pg_faults would have failed.
        table.at_least(f"awaits at which {call} was dropped, the next caller served", 2, awaits)
    table.claim("exit code of pg_faults", 0, done.returncode)
    return {"requests": sum(outcome["trials"] for outcome in ways.values()), **ways, "dropped": dropped}
