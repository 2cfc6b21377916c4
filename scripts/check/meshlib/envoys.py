"""The two Envoys, run by the files of deploy/mesh, and what their admin listeners tell."""

import json
import os
import re
import shutil
import subprocess
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from string import Template
from typing import Iterable

from clusterlib.stage import until
from crashlib.service import TIED, Failed, end, free_port, spawn
from lib import ROOT
from meshlib import certificates

FILES = ROOT / "deploy" / "mesh"
ENVOY = ROOT / "target" / "envoy" / "bin" / "envoy"
PATIENCE = 30
# In a mesh the client's side has an address of its own, by which the service's side knows it.
NEAR = "127.0.0.2"
OWN_ADDRESS = f"cluster_manager: {{ upstream_bind_config: {{ source_address: {{ address: {NEAR}, port_value: 0 }} }} }}"


class Mesh:
    """A client's side and a service's side with mTLS between them, before two replicas: (port, admin port) each."""

    def __init__(self, work: Path, replicas: Iterable[tuple[int, int]]) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.work, self.envoy = work, os.environ.get("ENVOY_BIN", str(ENVOY))
        if not Path(self.envoy).exists():
            raise Failed("Envoy is missing; run `make setup`")
        self.near, self.near_admin, self.far, self.far_admin = (free_port() for _ in range(4))
        certificates.authority(work, "authority")
        for name in ("till", "orders"):
            certificates.identity(work, name, account=name, by="authority")
        values = {name: getattr(self, name) for name in ("near", "near_admin", "far", "far_admin")}
        for number, (port, admin) in enumerate(replicas, 1):
            values |= {f"replica_{number}": port, f"replica_{number}_admin": admin}
        self.processes: dict[str, subprocess.Popen] = {}
        for side in ("far", "near"):
            text = Template((FILES / f"{side}.yaml").read_text()).substitute(values, certificates=work)
            (work / f"{side}.yaml").write_text(text)

    def start(self) -> "Mesh":
        """Starts both; returns once they serve and the replicas are believed ready."""
        for side in ("far", "near"):
            # A worker is enough for the load, and the machine is shared with all else.
            command = [*TIED, self.envoy, "-c", self.work / f"{side}.yaml", "--disable-hot-restart", "--concurrency", 1]
            if side == "near":
                command += ["--config-yaml", OWN_ADDRESS]
            with (self.work / f"{side}.log").open("ab") as log:
                self.processes[side] = spawn([*command, "--log-level", "warn"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for side in ("far", "near"):
            until(f"Envoy on the {side} side serves", PATIENCE, lambda: self.serves(side))
        self.until_well()
        return self

    def stop(self) -> None:
        for process in self.processes.values():
            end(process)

    def serves(self, side: str) -> bool:
        if self.processes[side].poll() is not None:
            raise Failed(f"Envoy on the {side} side ended:\n{(self.work / f'{side}.log').read_text()[-2000:]}")
        try:
            return self.ask(side, "/ready")[0] == 200
        except (OSError, HTTPException):
            return False

    def ask(self, side: str, path: str) -> tuple[int, bytes]:
        """What an admin listener answers."""
        connection = HTTPConnection("127.0.0.1", {"near": self.near_admin, "far": self.far_admin}[side], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def count(self, side: str, name: str) -> int:
        """A counter or gauge of that side."""
        told = json.loads(self.ask(side, f"/stats?format=json&filter=^{re.escape(name)}$")[1])
        found = [stat["value"] for stat in told["stats"] if stat.get("name") == name]
        if not found:
            raise Failed(f"Envoy on the {side} side has no {name}")
        return found[0]

    def ill(self) -> list[str]:
        """The replicas that the service's side does not send requests to."""
        found = []
        for cluster in json.loads(self.ask("far", "/clusters?format=json")[1])["cluster_statuses"]:
            for host in cluster.get("host_statuses", []):
                why = [name for name, held in host["health_status"].items() if name.startswith("failed") and held]
                port = host["address"]["socket_address"]["port_value"]
                found += [f"{cluster['name']}: {port} {reason}" for reason in why]
        return found

    def until_well(self) -> None:
        until("the service's side believes all replicas ready", PATIENCE, lambda: not self.ill())
