"""Calls of gRPC through the mesh: `caller.py`, run by the Python that has grpcio."""

import json
import os
import subprocess
from pathlib import Path

from crashlib.service import TIED, Failed, end, spawn
from lib import ROOT
from meshlib.scene import Scene

PYTHON = ROOT / "target" / "envoy" / "bin" / "python"
CALLER = Path(__file__).parent / "caller.py"
PATIENCE = 60


class Calls:
    """What a caller was told to do, from its start until it has told what came of it."""

    def __init__(self, scene: Scene, port: int, what: str, *more: object) -> None:
        made = client(scene.stage.work / "client")
        environment = {**os.environ, "PYTHONPATH": str(made), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*TIED, PYTHON, CALLER, what, port, scene.stage.token, *more]
        self.log = made / "log"
        with self.log.open("ab") as log:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            self.process = spawn(command, text=True, env=environment, **pipes)

    def told(self) -> dict:
        """Ends its input, and tells what it told."""
        try:
            text, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"calls of gRPC do not end:\n{self.log.read_text()[-2000:]}") from None
        if code := end(self.process):
            raise Failed(f"calls of gRPC ended with {code}:\n{self.log.read_text()[-2000:]}")
        return json.loads(text)


def client(folder: Path) -> Path:
    """The folder of a client made from the contract; makes it when it is not there."""
    if not folder.exists():
        folder.mkdir(parents=True)
        command = [PYTHON, "-m", "grpc_tools.protoc", "-I", ROOT / "api", "orders/v1/orders.proto"]
        command += [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        try:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        except FileNotFoundError:
            raise Failed("the Python with grpcio is missing; run `make setup`") from None
        if done.returncode:
            raise Failed(f"no client can be made from the contract; run `make setup`:\n{done.stderr[-2000:]}")
    return folder
