"""A page for newcomers: the commands that it has, and what it says they print."""

import re
from pathlib import Path
from typing import NamedTuple

# What is different every time; on a line of its own any lines, or none.
ANYTHING = "…"
PROGRAMS = ("go", "python")


class Shown(NamedTuple):
    """What a page shows of an output, and under which heading."""

    section: str
    text: str


class Step(NamedTuple):
    """A block of commands, and what it prints by the page, piece by piece."""

    section: str
    code: str
    shown: tuple[Shown, ...]


def steps(page: Path) -> list[Step]:
    """The blocks of commands of a page, from the top.

    A text after a block of commands is what it prints. A text after a piece of a program is what the next block of
    commands prints, since that one runs the program.
    """
    found: list[Step] = []
    pending: list[Shown] = []
    after_piece = False
    for section, kind, text in blocks(page):
        if kind == "sh":
            found.append(Step(section, text, tuple(pending)))
            pending, after_piece = [], False
        elif kind in PROGRAMS:
            after_piece = True
        elif kind == "text" and after_piece:
            pending.append(Shown(section, text))
        elif kind == "text" and found:
            found[-1] = found[-1]._replace(shown=(*found[-1].shown, Shown(section, text)))
        else:
            raise SystemExit(f"{page.name}: nobody knows what to do with a block of {kind or 'no kind'} under {section}")
    if pending:
        raise SystemExit(f"{page.name}: what is shown under {pending[0].section} is printed by no command")
    return found


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """The fenced blocks of a page: the heading above, the kind, and what is in it."""
    found, section, kind, lines = [], "", None, []
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        if kind is not None and line.rstrip() == "```":
            found.append((section, kind, "".join(lines)))
            kind = None
        elif kind is not None:
            lines.append(line)
        elif line.startswith("```"):
            kind, lines = line[3:].strip(), []
        elif line.startswith("## "):
            section = line[3:].strip()
    return found


def fitting(shown: tuple[Shown, ...], printed: str) -> int:
    """How many of these stand at the start of what was printed, one after the other; all of it is to be shown."""
    if printed and not printed.endswith("\n"):
        printed += "\n"
    fit, pattern = 0, ""
    for at, one in enumerate(shown, 1):
        pattern += "".join(map(line_pattern, one.text.splitlines()))
        match = re.fullmatch if at == len(shown) else re.match
        if not match(pattern, printed):
            break
        fit = at
    return fit


def line_pattern(line: str) -> str:
    if line == ANYTHING:
        return r"(?:.*\n)*?"
    return ".*?".join(map(re.escape, line.split(ANYTHING))) + r"\n"
