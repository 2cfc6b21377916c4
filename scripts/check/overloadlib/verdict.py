"""What is wanted of the figures. The page asks here too, so that both say the same."""

from crashlib.table import Table

# Bound by the store: what is left of the peak at four times it, and the most of its processors that the peak takes.
STORE_TIMES, STORE_PART, STORE_CPU = 4, 0.9, 0.5
CPU_PART = 0.8
REFUSAL_MS = 10.0
# Answers to whoever is refused before anything is done, and so many of them that a 99th percentile says something.
EARLY = ("429 rate-limited", "503 overloaded", "503 store-busy")
LEAST_REFUSALS = 100
# For each connection of the load: 24 KiB as `check-hostile` grants it, and the request on it.
CONNECTION_KIB = 64
# What a prober waits by default, in milliseconds.
PROBE_MS = 1_000.0
AGAIN_PART = 0.8
OTHERS_RATIO = 1.5


def wanted(bound: str, row: dict, found: dict) -> float | None:
    """The least part of the peak that must be left; `None` where nothing is asked."""
    if bound == "store":
        return STORE_PART if row["times"] == STORE_TIMES else None
    k, r = row["k"], found["refusal"]["r"]
    if row["times"] == 1 or not is_carried(bound, row, found):
        return None
    return round(CPU_PART * (1 - k * r) / (1 - r), 3)


def is_carried(bound: str, row: dict, found: dict) -> bool:
    """Whether the processor can refuse all of it: where it cannot, nothing is left of it, and nobody is answered early."""
    return bound == "store" or row["k"] * found["refusal"]["r"] < 1


def refusal_p99(row: dict) -> float | None:
    """Of the code whose refusals take longest."""
    early = [refused["p99_ms"] for code, refused in row["refusals"].items() if code in EARLY and refused["count"] >= LEAST_REFUSALS]
    return max(early, default=None)


def rss_limit(row: dict) -> float:
    return round(row["rss_mib"]["start"] + row["connections"] * CONNECTION_KIB / 1024, 1)


def judge(table: Table, bound: str, found: dict) -> None:
    """One service with its limits on; where they are off nothing is judged but what was acknowledged."""
    peak = found["peak"]
    table.shown("peak: right answers a second, median", peak["median"])
    table.none("wrong or missing answers at the peak", told(peak["errors"]))
    if bound == "store":
        table.within("peak: part of its processors that the service takes", STORE_CPU, found["peak_cpu"])
    else:
        table.shown("cost of a refusal, in parts of a request that is served", found["refusal"]["r"])
    for row in found["on"]:
        judge_step(table, bound, row, found)
    at_least(table, "afterwards: right answers a second, in parts of the peak", AGAIN_PART, found["again"])
    for limits in ("off", "on"):
        judge_tenants(table, limits, found["tenants"][limits])
    for scene, kept in found["kept"].items():
        table.at_least(f"{scene}: orders acknowledged", 1, kept["acknowledged"])
    for row in found["off"]:
        table.shown(f"limits off, {row['times']} ×: in time, in parts of the peak", row["of_peak"])


def judge_step(table: Table, bound: str, row: dict, found: dict) -> None:
    name = f"{row['times']} ×"
    table.shown(f"{name}: offered, in parts of the peak", row["k"])
    least = wanted(bound, row, found)
    if least is not None:
        at_least(table, f"{name}: in time, in parts of the peak", least, row["of_peak"])
    else:
        # At more than the peak the processor asks for nothing where refusals alone would fill it.
        full = not is_carried(bound, row, found)
        table.shown(f"{name}: in time; {'LEFT OUT, refusals alone take all' if full else 'not judged'}", row["of_peak"])
    slowest = refusal_p99(row)
    if slowest is not None and is_carried(bound, row, found):
        table.within(f"{name}: p99 of refusals (ms)", REFUSAL_MS, slowest)
    elif slowest is not None:
        table.shown(f"{name}: p99 of refusals (ms); LEFT OUT, refusals alone take all", slowest)
    table.none(f"{name}: wrong or missing answers", told(row["errors"]))
    memory = row["rss_mib"]
    table.within(f"{name}: most memory (MiB)", rss_limit(row), memory["most"])
    table.within(f"{name}: memory at rest again, in parts of before", 1.1, round(memory["after"] / memory["start"], 3))
    table.none(f"{name}: health probes not answered with 200", row["health_failed"])
    table.within(f"{name}: slowest health probe (ms)", PROBE_MS, row["health"]["most_ms"])
    table.shown(f"{name}: processors of the generator that are busy", row["generator_cores"])


def judge_tenants(table: Table, limits: str, found: dict) -> None:
    name = f"tenants, limits {limits}"
    table.within(f"{name}: others' p99.9 against an even load", OTHERS_RATIO, found["others_p999_ratio"])
    even, hot = found["even"]["others"]["in_time"], found["hot"]["others"]["in_time"]
    at_least(table, f"{name}: part of the others in time", even, hot)
    table.none(f"{name}: wrong or missing answers", told(found["even"]["errors"] | found["hot"]["errors"]))


def at_least(table: Table, text: str, limit: float, found: float) -> None:
    """A bound that holds where the machine is not shared with a build."""
    if table.judges_time:
        table.at_least(text, limit, found)
    else:
        table.shown(text, found)


def told(errors: dict) -> list[str]:
    return [f"{kind}: {count}" for kind, count in errors.items()]
