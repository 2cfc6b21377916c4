"""What every row stands on: a database, processes of the real binary on it, and what the database tells."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

from clusterlib.brokers import Brokers
from crashlib.client import Client
from crashlib.service import TIED, Failed, Service, spawn
from pglib import Postgres

# What the relay that leads holds, in `orders-adapters`.
LEAD_LOCK = 6_072_110_951_139
METRIC = "order_service_"


class Replica(Service):
    """`orderly serve` in some roles, on the shared database."""

    def __init__(self, stage: "Stage", name: str, roles: str, settings: tuple[str, ...] = ("lifecycle.lame_duck=0s",)) -> None:
        super().__init__(stage.orderly, stage.work / name)
        self.settings = list(settings)
        self.config, self.roles, self.token = stage.config, roles, stage.token

    def start(self) -> None:
        listen = ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        settings = [word for setting in self.settings for word in ("--set", setting)]
        command = [*TIED, self.orderly, "serve", "--config", self.config, "--roles", self.roles, *listen, *settings]
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self.started = time.monotonic()
            self.process = spawn(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    def metric(self, name: str) -> float | None:
        """A metric without labels; `None` when the process does not answer or does not tell it."""
        client = Client(self.admin_port, timeout=5)
        try:
            text = client.ask("GET", "/metrics", headers=["connection: close"]).body.decode()
        except OSError:
            return None
        finally:
            client.close()
        found = re.search(rf"^{METRIC}{name}(?:{{}})? (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def leads(self) -> bool:
        """Whether it says that it carries the feed out."""
        return self.metric("relay_leading") == 1

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Stage:
    """A database with the tables, a key that every replica takes, and topics when there are brokers."""

    def __init__(
        self,
        orderly: str,
        work: Path,
        postgres: Postgres,
        brokers: Brokers | None = None,
        standby: Postgres | None = None,
        step: int | None = None,
    ) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.orderly, self.work, self.postgres, self.brokers = orderly, work, postgres, None
        self.url = postgres.database()
        if standby:
            first = f"127.0.0.1:{postgres.port}"
            self.url = self.url.replace(first, f"{first},127.0.0.1:{standby.port}")
        self.database = self.url.rpartition("/")[2]
        self.config = work / "orderly.toml"
        text = f'[postgres]\nurl = "{self.url}"\n'
        text += f'[auth]\nkeys_file = "{work}/keys.toml"\npepper_file = "{work}/pepper"\n'
        self.config.write_text(text)
        for left in ("keys.toml", "pepper"):
            (work / left).unlink(missing_ok=True)
        self.run("migrate", *(["--to", step] if step else []))
        made = self.run("key", "new", "--tenant", "shop", "--principal", "till")
        self.token = max(made.split(), key=len)
        if brokers:
            self.with_topics(brokers)

    def with_topics(self, brokers: Brokers) -> None:
        """Makes the topics; what is started from here on uses them."""
        self.brokers = brokers
        addresses = ", ".join(f'"{address}"' for address in brokers.bootstrap().split(","))
        with self.config.open("a") as config:
            config.write(f"[kafka]\nbrokers = [{addresses}]\nreplicas = {brokers.COUNT}\n")
        self.run("events", "topics")

    def run(self, *words: object) -> str:
        """What a subcommand prints that must succeed."""
        command = [str(word) for word in (self.orderly, *words, "--config", self.config)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
        return done.stdout

    def replicas(self, **roles: str) -> list[Replica]:
        """A replica for each name, all of them ready."""
        made = [Replica(self, name, role) for name, role in roles.items()]
        for replica in made:
            replica.start()
        for replica in made:
            replica.until_ready()
        return made

    def sql(self, statement: str) -> list[list[str]]:
        """The rows that a statement gives, as whoever sees all tenants."""
        given = self.postgres.sql(statement, self.database)
        return [line.split("|") for line in given.splitlines()]

    def number(self, statement: str) -> int:
        return int(self.sql(statement)[0][0])

    def unpublished(self) -> int:
        """Committed events that are not noted as published."""
        return self.number(
            "SELECT (SELECT count(*) FROM outbox) + coalesce((SELECT max(position) FROM events), 0)"
            " - coalesce(published, 0) FROM meta"
        )

    def placed(self) -> int:
        """The last place given in the feed."""
        return self.number("SELECT coalesce(max(position), 0) FROM events")

    def published(self) -> int:
        return self.number("SELECT coalesce(published, 0) FROM meta")

    def lead_holders(self) -> list[str]:
        """The server's processes that hold the relay's lock."""
        return [
            pid
            for (pid,) in self.sql(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                f" AND (classid::bigint << 32 | objid::bigint) = {LEAD_LOCK}"
            )
        ]

    def history(self) -> set[tuple[str, int, str]]:
        """Every committed version: order, version, the change's id."""
        rows = self.sql("SET orderly.tenant = '*'; SELECT order_id, version, change_id FROM history")
        return {(order, int(version), change) for order, version, change in rows}

    def findings(self) -> list[str]:
        """What the audit finds; its own failure is a finding."""
        command = [self.orderly, "audit", "--config", self.config, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        try:
            findings = json.loads(done.stdout)["findings"]
        except (ValueError, KeyError):
            return [f"the audit ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
        return [str(finding) for finding in findings] or ([f"the audit ended with {done.returncode}"] if done.returncode else [])


def until(what: str, seconds: float, holds) -> float:
    """Waits until this holds; tells the seconds it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began
