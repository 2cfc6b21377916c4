"""Two foreign consumers, in Python and in Go, and what their reading is held against."""

import json
import subprocess
import venv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from clusterlib.stage import Stage
from crashlib.service import TIED, Failed, end, spawn
from crashlib.table import Table
from lib import ROOT

HERE = Path(__file__).parent / "consumer"
VENV = ROOT / "target" / "check" / "venv-cluster"
CLIENT = "kafka-python==3.0.12"
EVENTS, STATE = "orders.events.v1", "orders.state.v1"
PATIENCE = 300


class Record(NamedTuple):
    """A record as a consumer printed it."""

    partition: int
    offset: int
    key: str
    id: str
    type: str
    sequence: str
    wrong: tuple[str, ...]


class Consumers:
    """Both of them, ready to be run."""

    def __init__(self) -> None:
        stamp, python = VENV / "wanted", VENV / "bin" / "python"
        if not stamp.exists() or stamp.read_text() != CLIENT:
            venv.create(VENV, clear=True, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", CLIENT], check=True)
            stamp.write_text(CLIENT)
        go = ROOT / "target" / "check" / "cluster-consumer"
        if subprocess.run(["go", "build", "-o", go, "."], cwd=HERE).returncode:
            raise Failed("the consumer in Go does not build")
        self.commands = {"Python": [python, HERE / "reader.py"], "Go": [go]}

    def read(self, stage: Stage, topic: str, kind: str) -> dict[str, list[Record]]:
        """What each consumer reads of a topic, from its beginning, both at the same time."""
        running = {}
        for name, command in self.commands.items():
            out = stage.work / f"{name}-{kind}"
            with out.open("w") as file:
                words = [*TIED, *command, stage.brokers.bootstrap(), topic, ROOT / "api" / "events", kind]
                running[name] = (out, spawn(words, stdin=subprocess.DEVNULL, stdout=file))
        read = {}
        for name, (out, process) in running.items():
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Failed(f"the consumer in {name} does not come to the end of {topic}") from None
            finally:
                end(process)
            if code:
                raise Failed(f"the consumer in {name} ended with {code}")
            lines = (json.loads(line) for line in out.read_text().splitlines())
            read[name] = [Record(**{**line, "wrong": tuple(line["wrong"])}) for line in lines]
        return read


def judge_events(table: Table, stage: Stage, read: dict[str, list[Record]]) -> dict:
    """Holds what was read against what was committed; tells the counts."""
    history = stage.history()
    for name, records in read.items():
        wrong = [f"{record.key} {record.sequence}: {fault}" for record in records for fault in record.wrong]
        table.none(f"{name}: records that are no events by their schema", wrong)
        table.none(f"{name}: orders first seen out of order, or with a gap", out_of_order(records))
        told = {(record.key, int(record.sequence or 0), record.id) for record in records}
        table.none(f"{name}: committed changes that were never told", map(str, history - told))
        table.none(f"{name}: told changes that were never committed", map(str, told - history))
    first, second = (set(records) for records in read.values())
    table.none("records of which the two consumers tell different things", map(str, first ^ second))
    count = len(next(iter(read.values())))
    table.shown("records read by each", count)
    table.shown("of them told before, and recognised by their id", count - len(history))
    return {"committed": len(history), "records": count, "repeated": count - len(history)}


def out_of_order(records: list[Record]) -> list[str]:
    """The orders whose sequences, each where it is first seen, are not 1, 2, 3 and so on."""
    firsts: dict[str, list[int]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        sequence = int(record.sequence or 0)
        if sequence not in firsts[record.key]:
            firsts[record.key].append(sequence)
    return [f"{key}: {seen}" for key, seen in firsts.items() if seen != list(range(1, len(seen) + 1))]


def judge_state(table: Table, stage: Stage, read: dict[str, list[Record]]) -> None:
    """The last committed record of each key is the order's last version, whichever processes published it."""
    versions = {order: int(version) for order, version in stage.sql("SELECT id, version FROM orders")}
    for name, records in read.items():
        wrong = [f"{record.key} {record.sequence}: {fault}" for record in records for fault in record.wrong]
        table.none(f"{name}: states that do not fit their schema", wrong)
        records = sorted(records, key=lambda record: (record.partition, record.offset))
        last = {record.key: int(record.sequence or 0) for record in records}
        differ = [key for key in versions.keys() | last.keys() if versions.get(key) != last.get(key)]
        table.none(f"{name}: orders whose last state is not their last version", differ)
