"""One page followed by a shell, from its top to its bottom, against a service of its own."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from clientslib.pages import Step, fitting
from crashlib.service import TIED, Service
from lib import ROOT


class Walked(NamedTuple):
    """How far it went."""

    finished: int
    right: list[str]
    wrong: list[str]
    report: str


def walk(steps: list[Step], service: Service, folder: Path, limit: float) -> Walked:
    """Runs the commands of a page as they are printed, and holds what they print against what it shows."""
    lay_out(folder, service)
    outputs = folder / "outputs"
    script = folder / "page.sh"
    # One shell for all of them, as for somebody who reads; each block prints into a file of its own.
    parts = [f"exec >'{outputs}/{number}' 2>&1\n{step.code}" for number, step in enumerate(steps)]
    script.write_text("set -e\n" + "".join(parts) + f"exec >'{outputs}/{len(steps)}' 2>&1\n", encoding="utf-8")
    ended = run(script, folder, environment(service), limit)
    files = [outputs / str(number) for number in range(len(steps) + 1)]
    finished = sum(file.exists() for file in files[1:])
    right, wrong, report = [], [], ""
    for step, file in zip(steps, files):
        printed = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        fit = fitting(step.shown, printed)
        right += [one.section for one in step.shown[:fit]]
        wrong += [one.section for one in step.shown[fit:]]
        if not report and fit < len(step.shown):
            shown = "".join(one.text for one in step.shown)
            report = f"under “{step.shown[fit].section}” the page shows\n{indented(shown)}\nand there came\n{indented(printed)}"
        elif not report and file == files[finished] and finished < len(steps):
            report = f"the commands under “{step.section}” {ended}\n{indented(printed)}"
    return Walked(finished, right, wrong, report)


def lay_out(folder: Path, service: Service) -> None:
    """A folder like that of the repository, with what a page uses: what it makes in `target` is kept for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, leads_to in (("api", ROOT / "api"), ("docs", ROOT / "docs"), ("data", service.store.parent)):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(leads_to)
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    (folder / "outputs").mkdir()


def environment(service: Service) -> dict[str, str]:
    addresses = {"ORDERLY": service.port, "ORDERLY_ADMIN": service.admin_port}
    return {**os.environ, **{name: f"127.0.0.1:{port}" for name, port in addresses.items()}}


def run(script: Path, folder: Path, variables: dict[str, str], limit: float) -> str:
    """Runs a script and all that it starts, no longer than so many seconds; tells how it ended."""
    command = [*TIED, "bash", script]
    process = subprocess.Popen(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return f"ended with {process.wait(limit)}"
    except subprocess.TimeoutExpired:
        return f"did not end within {limit:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def indented(text: str) -> str:
    """The end of it, for a person."""
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-40:])
