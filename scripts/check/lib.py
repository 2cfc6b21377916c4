"""What the checks share: the verdict they reach and the record they leave."""

import json
import os
import platform
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterable

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs" / "records"


class Verdict:
    """Claims with what was wanted and found, printed as they are judged."""

    def __init__(self) -> None:
        self.failures = []

    def claim(self, text: str, wanted: int, found: int, examples: Iterable[str] = ()) -> None:
        """Holds `found` against `wanted`; the examples are named when they differ."""
        print(f"  {'ok  ' if wanted == found else 'FAIL'}  {text:<58} wanted {wanted:>9,}   found {found:>9,}")
        if wanted != found:
            shown = f" (such as {', '.join(sorted(examples)[:3])})" if examples else ""
            self.failures.append(f"{text}: wanted {wanted:,}, found {found:,}{shown}")


def write_record(check: str, *, seed: int, n: int, results: dict) -> None:
    """Writes docs/records/CHECK.json: what was checked, where, when and what came out."""
    record = {
        "check": check,
        "commit": commit(),
        "dirty": dirty(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "seed": seed,
        "n": n,
        "results": results,
    }
    path = RECORDS / f"{check}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"check {check}: wrote {path.relative_to(ROOT)}")


def machine() -> dict:
    memory = proc_field("/proc/meminfo", "MemTotal")
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.split()[0]) / 2**20, 1),
        "cpu_model": proc_field("/proc/cpuinfo", "model name"),
        "kernel": platform.release(),
    }


def commit() -> str:
    return git("rev-parse", "--short", "HEAD") or "none"


def dirty() -> bool:
    # What checks write is left out: a second one would otherwise be dirty by the first one's record.
    return bool(git("status", "--porcelain", "--", ".", ":!docs/records", ":!docs/plots", ":!docs/OVERLOAD.md"))


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def proc_field(file: str, name: str) -> str:
    """The value of the first `name: value` line of a file of /proc, or "unknown" (ARM names no model)."""
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def build(package: str, binary: str, given: str = "", features: Iterable[str] = ()) -> str:
    """The path of a release binary: the given one, or one built now with these features."""
    return str(Path(given).resolve()) if given else built(package, "bin", binary, features)


def build_example(package: str, example: str) -> str:
    """The path of a package's example, built now for release."""
    return built(package, "example", example)


def built(package: str, kind: str, name: str, features: Iterable[str] = ()) -> str:
    command = ["cargo", "build", "--release", "--locked", "-p", package, f"--{kind}", name, "--features", ",".join(features)]
    done = subprocess.run([*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{name} does not build")
    messages = map(json.loads, done.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == name)


def built_for_tests(packages: list[str], features: list[str]) -> dict[str, Path]:
    """The binaries of packages, each of its package's name, as tests have them and with these features."""
    command = ["cargo", "build", "--locked", *(word for package in packages for word in ("-p", package))]
    command += ["--bins", "--features", ",".join(features), "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{', '.join(packages)} do not build")
    made = [message for message in map(json.loads, done.stdout.splitlines()) if message.get("executable")]
    return {message["target"]["name"]: Path(message["executable"]) for message in made}


def end_children_on_signals() -> None:
    """Lets SIGINT and SIGTERM run `finally`, where what was started is ended."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
