"""The verdict of this check: exact claims, and bounds beside them."""

import math
from typing import Iterable

from lib import Verdict


class Table(Verdict):
    """Prints every claim as it is judged, under the name of its part."""

    def __init__(self, judges_time: bool = True) -> None:
        super().__init__()
        self.judges_time = judges_time

    def part(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def none(self, text: str, examples: Iterable[str]) -> None:
        """Nothing of this kind may exist."""
        examples = list(examples)
        self.claim(text, 0, len(examples), examples)

    def at_least(self, text: str, limit: float, found: float) -> None:
        self._bound(text, "≥", limit, found, found >= limit)

    def within(self, text: str, seconds: float, found: float) -> None:
        """A time that is judged where the machine is not shared with a build."""
        if self.judges_time:
            self._bound(text, "≤", seconds, found, found <= seconds)
        else:
            self.shown(text, found)

    def shown(self, text: str, found: float) -> None:
        """A figure that is told, not judged."""
        print(f"        {text:<58} {'':>16}   found {found:>9,}", flush=True)

    def _bound(self, text: str, sign: str, limit: float, found: float, holds: bool) -> None:
        print(f"  {'ok  ' if holds else 'FAIL'}  {text:<58} {sign:>6} {limit:>9,}   found {found:>9,}", flush=True)
        if not holds:
            self.failures.append(f"{text}: must be {sign} {limit:,}, found {found:,}")


def percentile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)] if ordered else math.nan
