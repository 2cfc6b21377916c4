"""Plots as SVG, written by hand: nothing to install, and a change that can be read."""

import math
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 216, 44, 56
COLOURS = ("#0b62a4", "#c0392b", "#2e8b57", "#8e44ad", "#b7791f", "#5f6a6a")


class Series(NamedTuple):
    name: str
    points: list[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


class Axis(NamedTuple):
    label: str
    least: float
    most: float
    log: bool = False

    def part(self, value: float) -> float:
        """Where on the axis, from 0 to 1."""
        if not self.log:
            return (value - self.least) / (self.most - self.least)
        spans = math.log10(self.most / self.least)
        return math.log10(max(value, self.least) / self.least) / spans

    def ticks(self) -> list[float]:
        if self.log:
            decades = round(math.log10(self.most / self.least))
            return [self.least * 10**decade for decade in range(decades + 1)]
        step = nice((self.most - self.least) / 5)
        return [self.least + number * step for number in range(math.floor((self.most - self.least) / step + 1e-9) + 1)]


def linear(label: str, values: list[float]) -> Axis:
    """From 0 to a little above the largest."""
    most = max(values, default=1.0) or 1.0
    step = nice(most / 5)
    return Axis(label, 0.0, step * math.ceil(most / step - 1e-9))


def decades(label: str, values: list[float]) -> Axis:
    """Whole powers of ten around the values above 0."""
    positive = [value for value in values if value > 0] or [1.0]
    least = 10.0 ** math.floor(math.log10(min(positive)))
    return Axis(label, least, max(10.0 ** math.ceil(math.log10(max(positive))), least * 10), log=True)


def nice(step: float) -> float:
    """The next step up that people count in."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))


def lines(title: str, x: Axis, y: Axis, series: list[Series]) -> str:
    """One line for each series, with a dot at each figure."""
    drawn = grid(title, y) + [text(across(x, tick), HEIGHT - BOTTOM + 18, number(tick), "middle") for tick in x.ticks()]
    drawn.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x.label, "middle"))
    for one in series:
        places = [(across(x, at), up(y, value)) for at, value in one.points]
        style = f'stroke="{COLOURS[one.colour]}"' + (' stroke-dasharray="6 4"' if one.dashed else "")
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>')
        if not one.dashed:
            drawn += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{COLOURS[one.colour]}"/>' for a, b in places]
    for number_of, one in enumerate(series):
        height = TOP + 8 + number_of * 20
        style = f'stroke="{COLOURS[one.colour]}"' + (' stroke-dasharray="6 4"' if one.dashed else "")
        drawn.append(f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 42}" y1="{height}" y2="{height}" stroke-width="2" {style}/>')
        drawn.append(text(WIDTH - RIGHT + 48, height + 4, one.name))
    return document(title, drawn)


def bars(title: str, y: Axis, groups: list[str], series: dict[str, list[float]]) -> str:
    """For each group, whose name may have two lines, one bar of each series, with its figure above."""
    drawn, room = grid(title, y), (WIDTH - LEFT - RIGHT) / len(groups)
    wide = room * 0.8 / len(series)
    for at, group in enumerate(groups):
        for line, words in enumerate(group.splitlines()):
            drawn.append(text(LEFT + room * (at + 0.5), HEIGHT - BOTTOM + 18 + 16 * line, words, "middle"))
        for colour, values in enumerate(series.values()):
            left, top = LEFT + room * (at + 0.1) + wide * colour, up(y, values[at])
            height = HEIGHT - BOTTOM - top
            drawn.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide * 0.9:.1f}" height="{height:.1f}" fill="{COLOURS[colour]}"/>')
            drawn.append(text(left + wide * 0.45, top - 5, number(values[at]), "middle"))
    for colour, name in enumerate(series):
        height = TOP + 8 + colour * 20
        drawn.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{height - 6}" width="12" height="12" fill="{COLOURS[colour]}"/>')
        drawn.append(text(WIDTH - RIGHT + 32, height + 4, name))
    return document(title, drawn)


def grid(title: str, y: Axis) -> list[str]:
    """Title, a line across at each tick, and the label of the axis that goes up."""
    drawn = [text(LEFT, 24, title, weight="bold")]
    for tick in y.ticks():
        height = up(y, tick)
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>')
        drawn.append(text(LEFT - 8, height + 4, number(tick), "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    drawn.append(f'<text transform="translate(16,{middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y.label)}</text>')
    drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#333"/>')
    return drawn


def across(x: Axis, value: float) -> float:
    return LEFT + x.part(value) * (WIDTH - LEFT - RIGHT)


def up(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - y.part(value) * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def number(value: float) -> str:
    """As short as a person wants it."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def document(title: str, drawn: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">'
    # A ground of its own, so that it can be read on a dark page.
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *drawn, "</svg>", ""])
