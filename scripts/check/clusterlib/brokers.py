"""Apache Kafka: brokers of one cluster on this machine, as `scripts/kafka` brought it."""

import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from crashlib.service import TIED, Failed, end, free_port, spawn
from lib import ROOT

JARS = ROOT / "target" / "kafka" / "lib"
# Starts fast rather than running fast.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
# Any 16 bytes in base64.
CLUSTER = "b3JkZXJseS1jaGVjay0wMQ"
PATIENCE = 120
METADATA, VERSION = 3, 4

SETTINGS = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
"""


class Brokers:
    """Three brokers, each of them a controller too: they go on while two of them run."""

    COUNT = 3

    def __init__(self, folder: Path) -> None:
        if not JARS.exists():
            raise Failed("Kafka is missing; run `make setup`")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.ports = [free_port() for _ in range(self.COUNT)]
        controllers = [free_port() for _ in range(self.COUNT)]
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers))
        self.processes: list[subprocess.Popen | None] = [None] * self.COUNT
        for node, (port, controller) in enumerate(zip(self.ports, controllers)):
            text = SETTINGS.format(node=node, voters=voters, port=port, controller=controller, data=folder / str(node))
            self.settings(node).write_text(text)
            self.tool("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config", self.settings(node))

    def settings(self, node: int) -> Path:
        return self.folder / f"{node}.properties"

    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, enough: int = COUNT) -> None:
        """Starts those that do not run; returns once so many serve and each of these knows as many."""
        for node in range(self.COUNT):
            if self.processes[node] is None:
                with (self.folder / f"{node}.log").open("ab") as log:
                    command = [*TIED, *JAVA, "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
                    command += ["-cp", f"{JARS}/*", "kafka.Kafka", self.settings(node)]
                    self.processes[node] = spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while sum(len(self.known_to(node)) >= enough for node in range(self.COUNT)) < enough:
            for node, process in enumerate(self.processes):
                if process.poll() is not None:
                    raise Failed(f"broker {node} ended:\n{self.log(node)}")
            if time.monotonic() > deadline:
                raise Failed(f"{enough} brokers do not serve; the first says:\n{self.log(0)}")
            time.sleep(0.1)

    def log(self, node: int) -> str:
        """The end of what a broker has logged."""
        return (self.folder / f"{node}.log").read_text(errors="replace")[-2000:]

    def kill(self, *nodes: int) -> None:
        """Kills these brokers, or all."""
        for node in nodes or range(self.COUNT):
            end(self.processes[node])
            self.processes[node] = None

    def tool(self, *command: object) -> str:
        words = [*JAVA, "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{JARS}/*", *command]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{command[0]}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout

    def known_to(self, node: int) -> set[int]:
        """The brokers that this one names when it is asked for the cluster; none when it does not answer."""
        request = struct.pack(">hhih", METADATA, VERSION, 1, -1) + struct.pack(">ib", 0, 0)
        try:
            with socket.create_connection(("127.0.0.1", self.ports[node]), 2) as connection:
                connection.settimeout(2)
                connection.sendall(struct.pack(">i", len(request)) + request)
                with connection.makefile("rb") as answer:
                    body = answer.read(struct.unpack(">i", answer.read(4))[0])
        except (OSError, struct.error):
            return set()
        nodes, at = set(), 8  # After the correlation id and the throttle time.
        (count,) = struct.unpack_from(">i", body, at)
        at += 4
        for _ in range(count):
            number, host = struct.unpack_from(">ih", body, at)
            at += 6 + host + 4
            (rack,) = struct.unpack_from(">h", body, at)
            at += 2 + max(rack, 0)
            nodes.add(number)
        return nodes
