"""One of ten tenants asks for nine tenths of the load; the others are to keep their service."""

from overloadlib.scene import TENANTS, Scene, connections
from overloadlib.steps import Sizes, errors, milliseconds

LOAD = 1.5
# Nine others ask for one part each.
HOT_WEIGHT = 9 * (TENANTS - 1)
# What each may write a second where that is limited, in parts of the peak: more than its even share of the load.
LIMIT = 0.2


def limit(peak: float) -> str:
    """The setting that limits each principal."""
    return f"limits.principal.write.per_second={max(1, round(LIMIT * peak))}"


def compare(scene: Scene, name: str, peak: float, sizes: Sizes) -> dict:
    """The same load spread evenly, then with nine tenths from one."""
    found = {}
    for spread, weight in (("even", 1), ("hot", HOT_WEIGHT)):
        first, *others = scene.tools.keys
        tenants = [("hot", weight, first), *(("others", 1, key) for key in others)]
        mode = ["open", "--rate", round(LOAD * peak, 3), "--in-flight", connections(peak), "--max-lag", "1s"]
        record = scene.load(f"{name}-{spread}", mode, seconds=sizes.tenants, warmup=sizes.warmup, tenants=tenants)
        found[spread] = {
            "offered": round((record["requests"] + record["unsent"]) / sizes.tenants, 1),
            "goodput": round(record["in_time_per_s"], 1),
            **{group: of_group(record["groups"][group]) for group in ("hot", "others")},
            "refusals": {code: refused["count"] for code, refused in record.get("refusals", {}).items()},
            "generator_cores": round(record["client"]["cores_busy"], 3),
            "errors": errors([record]),
        }
    even, hot = found["even"]["others"]["p99.9_ms"], found["hot"]["others"]["p99.9_ms"]
    return {**found, "others_p999_ratio": round(hot / even, 3) if even else 0.0}


def of_group(group: dict) -> dict:
    return {
        "requests": group["requests"],
        "in_time": round(group["in_time"] / max(1, group["requests"]), 4),
        **milliseconds(group["latency_us"]),
    }
