"""Part 5: 64 concurrent twins of every key, with kills in between."""

import os
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path

from crashlib.client import ORDER, Answer, Client
from crashlib.service import Failed, Service
from crashlib.table import Table
from crashlib.writers import stored

TWINS = 64
MOST_ROUNDS = 200
# After this most twins have their answer, and a kill shows little.
LATEST_KILL = 0.004


def run(table: Table, orderly: str, work: Path, seed: int, *, keys: int, kills: int) -> dict:
    table.part(f"{TWINS} concurrent twins of each of {keys:,} keys, with {kills} kills in between")
    chance = random.Random(f"twins/{seed}")
    service = Service(orderly, work)
    service.start()
    service.until_ready()
    clients = [service.client() for _ in range(TWINS)]
    killed = set(chance.sample(range(keys), kills))
    divided, twice_first, wrong, replayed, cut, between = [], [], [], 0, 0, 0
    for number in range(keys):
        key = f"twins-{number:06}-key"
        killer = kill_after(service, chance.uniform(0, LATEST_KILL)) if number in killed else None
        answers, again = ask_all(service, clients, key)
        if killer:
            killer.join()
            # The order was made, and twins were left without an answer: the case that keys are for.
            between += again > 0 and all(answer.replayed for answer in answers[TWINS - again :])
            cut += again
        wrong += [str(answer) for answer in answers if answer.status != 201]
        if len({answer.json().get("id") for answer in answers}) != 1:
            divided.append(key)
        if sum(not answer.replayed for answer in answers) > 1:
            twice_first.append(key)
        replayed += sum(answer.replayed for answer in answers)
    revive(service)
    table.claim("exit code of the orderly stop at the end", 0, service.stop())
    file = stored(service.store)
    with sqlite3.connect(f"{service.store.as_uri()}?mode=ro", uri=True) as db:
        orders = db.execute("SELECT count(*) FROM orders").fetchone()[0]
    table.claim("orders = keys", keys, orders)
    table.claim("keys with an order", keys, len(file.orders))
    table.none("keys whose twins were told different orders", divided)
    table.none("keys with two answers that claim to be the first", twice_first)
    table.none("answers that are not 201", wrong)
    table.none("torn: what the audit found", service.findings())
    table.at_least("twins that a kill left without an answer", 1, cut)
    table.shown("kills between the commit and the last answer", between)
    table.shown("answers", keys * TWINS)
    table.shown("of them replayed", replayed)
    return {
        "keys": keys,
        "orders": orders,
        "twins": TWINS,
        "answers": keys * TWINS,
        "kills": kills,
        "kills_between_commit_and_last_answer": between,
        "unanswered": cut,
    }


def kill_after(service: Service, seconds: float) -> threading.Thread:
    pid = service.process.pid

    def kill() -> None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def revive(service: Service) -> None:
    """Starts the service again if it was killed."""
    if service.process.poll() is not None:
        service.kill()
        service.start()
        service.until_ready()


def ask_all(service: Service, clients: list[Client], key: str) -> tuple[list[Answer], int]:
    """Sends one request on every connection before any answer is read; again where there was none."""
    answers, waiting, cut = [], clients, 0
    for attempt in range(MOST_ROUNDS):
        if attempt:
            revive(service)
        asked, again = [], []
        for client in waiting:
            try:
                client.send("POST", "/v1/orders", key, ORDER)
                asked.append(client)
            except OSError:
                again.append(client)
        for client in asked:
            try:
                answer = client.receive()
            except OSError:
                cut += 1
                again.append(client)
                continue
            if answer.status in (503, 504):
                again.append(client)
            else:
                answers.append(answer)
        if not again:
            return answers, cut
        waiting = again
        time.sleep(0.002)
    raise Failed(f"key {key} is not answered after {MOST_ROUNDS} tries:\n{service.last_lines()}")
