"""The plots, and the figures of docs/OVERLOAD.md: both made from the record alone."""

import re

from lib import ROOT
from overloadlib import plot
from overloadlib.plot import Series
from overloadlib.verdict import OTHERS_RATIO, REFUSAL_MS, refusal_p99, rss_limit, wanted

PAGE = ROOT / "docs" / "OVERLOAD.md"
PLOTS = ROOT / "docs" / "plots"
NAMES = {"store": "bound by the store", "cpu": "bound by the processor"}


def write(record: dict) -> None:
    """Draws, and puts the figures between their marks; what people wrote around them stays."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    page = PAGE.read_text(encoding="utf-8")
    for name, lines in blocks(record).items():
        marks = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not marks.search(page):
            raise SystemExit(f"docs/OVERLOAD.md has no place for the figures: {name}")
        body = "\n".join(lines) + "\n"
        page = marks.sub(lambda found, body=body: found[1] + body + found[2], page)
    for name, drawn in plots(record["results"]["bounds"]).items():
        (PLOTS / f"{name}.svg").write_text(drawn, encoding="utf-8")
    PAGE.write_text(page, encoding="utf-8")
    print(f"check overload: wrote {PAGE.relative_to(ROOT)} and {PLOTS.relative_to(ROOT)}")


def blocks(record: dict) -> dict[str, list[str]]:
    bounds = record["results"]["bounds"]
    found = {"run": run(record)}
    for bound in bounds:
        found[bound] = steps(bound, bounds[bound])
        found[f"{bound}-tenants"] = tenants(bound, bounds[bound])
    return found


def run(record: dict) -> list[str]:
    machine, results = record["machine"], record["results"]
    return [
        f"The figures are of {record['date'][:10]}, at commit {record['commit']}{'+' if record['dirty'] else ''}"
        f" ([record](records/overload.json)): {machine['cpu_model']}, {results['processors']['service']} processor(s) for the"
        f" service and {results['processors']['generator']} for the load, {results['seconds']:g} s a step, patience of"
        f" {results['patience_ms'] / 1e3:g} s.",
    ]


def steps(bound: str, found: dict) -> list[str]:
    peak = found["peak"]
    low, high = min(peak["rounds"]), max(peak["rounds"])
    lines = [
        f"The peak is **{peak['median']:,.0f}** orders a second ({low:,.0f} to {high:,.0f} over rounds), for which the service"
        f" takes {percent(found['peak_cpu'])} of its processors; after all steps it was {percent(found['again'])} of that.",
    ]
    if bound == "cpu":
        refusal = found["refusal"]
        lines.append(
            f"A request that is served costs {peak['served_us']:.0f} µs of processor time, one that is refused"
            f" {refusal['us']:.0f} µs: r = {refusal['r']:.2f}."
        )
    lines += [
        "",
        f"![In time over offered load](plots/overload-{bound}-goodput.svg)",
        "",
        f"![Times over offered load](plots/overload-{bound}-latency.svg)",
        "",
        "| aimed at | offered | in time | wanted | p50, p99 of served | p99 of refusals | refused, by code | memory: before, most (limit), after"
        " | slowest health probe | generator |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [on(bound, row, found) for row in found["on"]]
    lines += ["", "Without limits, not judged:", ""]
    lines += ["| aimed at | offered | in time | p50, p99 of served | memory: before, most, after | lost, by kind |", "|---|---|---|---|---|---|"]
    return lines + [off(row) for row in found["off"]]


def on(bound: str, row: dict, found: dict) -> str:
    least, slowest, memory = wanted(bound, row, found), refusal_p99(row), row["rss_mib"]
    codes = ", ".join(f"{code} {refused['count']:,}" for code, refused in row["refusals"].items()) or "none"
    return (
        f"| {row['times']} × | {row['k']:.2f} × | {percent(row['of_peak'])} | {'' if least is None else f'≥ {percent(least)}'}"
        f" | {row['served']['p50_ms']:,.0f}, {row['served']['p99_ms']:,.0f} ms"
        f" | {'' if slowest is None else f'{slowest:.1f} ms (≤ {REFUSAL_MS:g})'} | {codes}"
        f" | {memory['start']:.0f}, {memory['most']:.0f} ({rss_limit(row):.0f}), {memory['after']:.0f} MiB"
        f" | {row['health']['most_ms']:.0f} ms | {row['generator_cores']:.2f} cores |"
    )


def percent(part: float, digits: int = 0) -> str:
    return f"{part * 100:.{digits}f} %"


def off(row: dict) -> str:
    memory = row["rss_mib"]
    lost = ", ".join(f"{kind} {count:,}" for kind, count in row["errors"].items()) or "none"
    return (
        f"| {row['times']} × | {row['k']:.2f} × | {percent(row['of_peak'])}"
        f" | {row['served']['p50_ms']:,.0f}, {row['served']['p99_ms']:,.0f} ms"
        f" | {memory['start']:.0f}, {memory['most']:.0f}, {memory['after']:.0f} MiB | {lost} |"
    )


def tenants(bound: str, found: dict) -> list[str]:
    lines = [
        f"![Tenants, {NAMES[bound]}](plots/overload-{bound}-tenants.svg)",
        "",
        "| limits of principals | load | others: in time | others: p50, p99.9 | the one: in time | refused, by code |",
        "|---|---|---|---|---|---|",
    ]
    for limits, of_both in found["tenants"].items():
        for spread, told in (("even", "spread evenly"), ("hot", "nine tenths from one")):
            row = of_both[spread]
            codes = ", ".join(f"{code} {count:,}" for code, count in row["refusals"].items()) or "none"
            others = row["others"]
            lines.append(
                f"| {limits} | {told} | {percent(others['in_time'], 1)} | {others['p50_ms']:,.0f}, {others['p99.9_ms']:,.0f} ms"
                f" | {percent(row['hot']['in_time'], 1)} | {codes} |"
            )
    ratios = " and ".join(f"{of_both['others_p999_ratio']:.2f} × with limits {limits}" for limits, of_both in found["tenants"].items())
    return [*lines, "", f"The others' p99.9 is {ratios} (wanted: at most {OTHERS_RATIO:g} ×)."]


def plots(bounds: dict) -> dict[str, str]:
    drawn = {}
    for bound, found in bounds.items():
        drawn[f"overload-{bound}-goodput"] = goodput(bound, found)
        drawn[f"overload-{bound}-latency"] = latency(bound, found)
        drawn[f"overload-{bound}-tenants"] = hot(bound, found)
    return drawn


def goodput(bound: str, found: dict) -> str:
    on, off = ([(row["offered"], row["goodput"]) for row in sorted(found[side], key=lambda row: row["offered"])] for side in ("on", "off"))
    peak = found["peak"]["median"]
    asked = [row for row in found["on"] if wanted(bound, row, found) is not None]
    least = [(row["offered"], wanted(bound, row, found) * peak) for row in sorted(asked, key=lambda row: row["offered"])]
    most = max(at for at, _ in on + off)
    series = [Series("limits on", on), Series("limits off", off, 1), Series("the peak", [(0, peak), (most, peak)], 5, dashed=True)]
    if least:
        series.append(Series("wanted", least, 2, dashed=len(least) > 1))
    x = plot.linear("offered, requests a second", [most])
    y = plot.linear("in time, a second", [value for one in series for _, value in one.points])
    return plot.lines(f"What is answered in time, {NAMES[bound]}", x, y, series)


def latency(bound: str, found: dict) -> str:
    series = []
    for side, dashed in (("on", False), ("off", True)):
        rows = sorted(found[side], key=lambda row: row["offered"])
        for colour, quantile in enumerate(("p50", "p99")):
            points = [(row["offered"], row["served"][f"{quantile}_ms"]) for row in rows]
            series.append(Series(f"served, {quantile}, limits {side}", points, colour, dashed))
    refused = [(row["offered"], refusal_p99(row)) for row in sorted(found["on"], key=lambda row: row["offered"])]
    refused = [(at, value) for at, value in refused if value is not None]
    if refused:
        series.append(Series("refused, p99, limits on", refused, 2))
    points = [point for one in series for point in one.points]
    x = plot.linear("offered, requests a second", [at for at, _ in points])
    y = plot.decades("milliseconds", [value for _, value in points])
    return plot.lines(f"How long answers take, {NAMES[bound]}", x, y, series)


def hot(bound: str, found: dict) -> str:
    groups, others = [], []
    for limits, of_both in found["tenants"].items():
        for spread, told in (("even", "load spread evenly"), ("hot", "most from another")):
            groups.append(f"{told}\nlimits {limits}")
            others.append(of_both[spread]["others"])
    series = {name: [row[f"{name}_ms"] for row in others] for name in ("p50", "p99", "p99.9")}
    y = plot.decades("milliseconds", [value for values in series.values() for value in values])
    return plot.bars(f"The nine other tenants, {NAMES[bound]}", y, groups, series)
