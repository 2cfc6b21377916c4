"""The feed under writers and readers: the tests of it, on a real PostgreSQL."""

import re
import subprocess

from crashlib.service import TIED
from crashlib.table import Table
from lib import ROOT

TITLE = "Feed: 16 writers over two replicas, 4 readers that resume anywhere, and a cursor over ids that is to be caught"
TESTS = {
    "readers_that_resume_anywhere_miss_no_event_of_two_processes": "4 readers saw every event, once each and in order",
    "an_event_that_commits_after_a_later_id_is_skipped_by_ids_and_not_by_positions": "the cursor over ids was caught",
}


def run(table: Table, orderly: str, work) -> dict:
    del orderly, work
    command = ["cargo", "test", "--locked", "-p", "orders-adapters", "--features", "postgres", "--test", "it", "postgres::feed"]
    done = subprocess.run([*TIED, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    passed = re.findall(r"^test postgres::feed::(\w+) \.\.\. ok$", done.stdout, re.MULTILINE)
    for test, what in TESTS.items():
        table.claim(what, 1, passed.count(test))
    table.claim("exit code of the tests", 0, done.returncode)
    return {"passed": passed}
