"""The peak, the steps above it, and what a refusal costs."""

import statistics
import time
from pathlib import Path
from typing import NamedTuple

from overloadlib.scene import REFUSING, Scene, Tools, connections
from overloadlib.watch import Watch, reasons, rss_mib

CALLERS = 128
REFUSED_CALLERS = 64
# Beyond this part of its processors the generator would wait for itself.
GENERATOR_SHARE = 0.8
REST_SECONDS, BACK = 30.0, 1.1


class Sizes(NamedTuple):
    """How long each part takes."""

    seconds: float
    warmup: float
    fill: float
    tenants: float
    rounds: int
    times: tuple[int, ...]
    rest: float = REST_SECONDS


def peak(scene: Scene, name: str, sizes: Sizes, rounds: int) -> dict:
    """Right answers a second with callers that wait for their answers, and what one of them costs in processor time."""
    found = []
    for number in range(1, rounds + 1):
        mode = ["closed", "--callers", CALLERS]
        found.append(scene.load(f"{name}-{number}", mode, seconds=sizes.seconds, warmup=sizes.warmup))
    per_second = [round(one["in_time_per_s"], 1) for one in found]
    return {
        "rounds": per_second,
        "median": statistics.median(per_second),
        "service_cores": round(statistics.median(one["server"]["cpu_s"] / one["elapsed_s"] for one in found), 3),
        "served_us": round(statistics.median(one["server"]["cpu_us_per_request"] for one in found), 1),
        "generator_us": round(statistics.median(map(generator_us, found)), 1),
        "errors": errors(found),
    }


def refusal_cost(tools: Tools, work: Path, sizes: Sizes) -> dict:
    """Processor time of the service for each refusal, where it does nearly nothing else."""
    scene = Scene(tools, work, REFUSING)
    scene.bind()
    found = []
    for number in range(1, sizes.rounds + 1):
        mode = ["closed", "--callers", REFUSED_CALLERS]
        found.append(scene.load(f"refused-{number}", mode, seconds=sizes.seconds, warmup=sizes.warmup))
    costs = [round(one["server"]["cpu_us_per_request"], 1) for one in found]
    part = sum(one["refused"] for one in found) / max(1, sum(one["requests"] for one in found))
    scene.close()
    return {"us": statistics.median(costs), "rounds": costs, "part_refused": round(part, 4)}


def steps(scene: Scene, name: str, found_peak: dict, sizes: Sizes) -> list[dict]:
    """Offers each multiple of the peak in turn, or as much of it as can be offered."""
    rows, cost = [], found_peak["generator_us"]
    for times in sizes.times:
        rows.append(step(scene, f"{name}-{times}", times, found_peak["median"], cost, sizes))
        # The next one is refused more, which costs the generator less: what was seen last is the best guess.
        cost = rows[-1]["generator_us"] or cost
    return rows


def step(scene: Scene, name: str, times: int, peak_rate: float, cost: float, sizes: Sizes) -> dict:
    service, many = scene.service, connections(peak_rate)
    most = GENERATOR_SHARE * len(scene.tools.generator) * 1e6 / cost
    rate = min(times * peak_rate, most)
    start, before = rss_mib(scene.pid), reasons(service)
    mode = ["open", "--rate", round(rate, 3), "--in-flight", many, "--max-lag", "1s"]
    with Watch(service) as seen:
        record = scene.load(name, mode, seconds=sizes.seconds, warmup=sizes.warmup)
    rest, after = until_rest(scene, start, sizes.rest)
    refused = {reason: count - before.get(reason, 0) for reason, count in reasons(service).items()}
    memory = {"start": start, "most": max(seen.most, start), "after": after, "rest_s": rest}
    shown = figures(record, peak_rate, sizes.seconds)
    print(
        f"  {scene.work.name:14}{times:3} ×  aimed {times * peak_rate:9,.0f}/s  offered {shown['offered']:9,.0f}/s"
        f"  in time {shown['goodput']:9,.0f}/s",
        flush=True,
    )
    return {
        "times": times,
        "aimed": round(times * peak_rate, 1),
        **shown,
        "connections": many,
        "rss_mib": memory,
        "health": seen.health(),
        "health_failed": sorted(set(seen.failed))[:3],
        "reasons": {reason: count for reason, count in refused.items() if count},
    }


def figures(record: dict, peak_rate: float, seconds: float) -> dict:
    """What the record of an open loop says, in the units of the page."""
    # What found no free connection in time was offered too: whoever wanted it was not served.
    offered = (record["requests"] + record["unsent"]) / seconds
    return {
        "offered": round(offered, 1),
        "k": round(offered / peak_rate, 2),
        "goodput": round(record["in_time_per_s"], 1),
        "of_peak": round(record["in_time_per_s"] / peak_rate, 3),
        "right": round(record["ok"] / seconds, 1),
        "refused": round(record["refused"] / seconds, 1),
        "unsent": round(record["unsent"] / seconds, 1),
        "served": milliseconds(record["operations"]["create"]["latency_us"]),
        "refusals": {
            code: {"count": refused["count"], **milliseconds(refused["time_us"])}
            for code, refused in record.get("refusals", {}).items()
        },
        "errors": errors([record]),
        "service_cores": round(record["server"]["cpu_s"] / record["elapsed_s"], 3),
        "generator_cores": round(record["client"]["cores_busy"], 3),
        "generator_us": round(generator_us(record), 1),
    }


def milliseconds(spread: dict) -> dict:
    return {f"{name}_ms": round(spread[name] / 1e3, 2) for name in ("p50", "p99", "p99.9")}


def generator_us(record: dict) -> float:
    """Processor time of the generator for each request."""
    return record["client"]["cpu_s"] * 1e6 / max(1, record["requests"])


def errors(records: list[dict]) -> dict:
    """Answers that were wrong or missing, by kind."""
    found: dict[str, int] = {}
    for record in records:
        for kind, fault in record["errors"].items():
            found[kind] = found.get(kind, 0) + fault["count"]
    return found


def until_rest(scene: Scene, start: float, limit: float) -> tuple[float, float]:
    """Seconds until memory is back near where it was, at most the limit, and how much it is then."""
    began = time.monotonic()
    while True:
        # First of all a moment for what is still being answered.
        time.sleep(1)
        after, took = rss_mib(scene.pid), time.monotonic() - began
        if after <= start * BACK or took >= limit:
            return round(took, 1), after
