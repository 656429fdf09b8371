"""Tables as lines of plain text, as wide as a terminal or, where nobody looks, as wide as what they hold.

In a pipe every value is whole. On a terminal long texts end in `…` and columns that still do not fit make further
blocks below, each with the first columns again. Limit: the width of a cell is that of its characters on most terminals.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

GAP = 2
LEAST = 8
"""Width to which a long text may be cut where a table does not fit."""


@dataclass(frozen=True)
class Column:
    """A column: its name, its texts, and how it is shown."""

    name: str
    cells: Sequence[str]
    left: bool = False
    """Whether it begins at the left, as texts do; numbers end at the right."""
    cut: bool = False
    """Whether its texts may be cut."""

    @functools.cached_property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def columns(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str] = (), whole: Collection[str] = ()
) -> list[Column]:
    """Columns of rows. Those of `left` are texts, which may be cut; those of `whole` texts that are never cut."""
    cells = list(zip(*([printed(each) for each in row] for row in rows), strict=True)) or [()] * len(names)
    return [
        Column(name, each, name in left or name in whole, name in left and name not in whole)
        for name, each in zip(names, cells, strict=True)
    ]


def printed(text: str) -> str:
    """A text without what would move the cursor or start a line: `\\n` is written as two letters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None in a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines(given: Sequence[Column], width: int | None, *, keys: int = 0, must: int = 1) -> list[str]:
    """The table as text. Where it does not fit: with `keys` in blocks that each begin with so many first columns,
    else without the last columns but for the first `must`, and a line that names them.
    """
    if width is None or _needed(given) <= width:
        return _drawn(given)
    if keys:
        found = [line for block in _blocks(given, width, keys) for line in (*_drawn(block), "")][:-1]
    else:
        count = next((n for n in range(len(given), must, -1) if _needed(given[:n]) <= width), must)
        found = _drawn(_narrowed(given[:count], width))
        names = ", ".join(column.name for column in given[count:])
        found += [f"no room for: {names}; --json has all"] if names else []
    return [shortened(line, width) for line in found]


def shortened(text: str, width: int | None) -> str:
    """A line that fits, its end replaced by `…` where it does not."""
    return text if width is None or cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _needed(given: Sequence[Column]) -> int:
    return sum(column.width for column in given) + GAP * (len(given) - 1)


def _blocks(given: Sequence[Column], width: int, keys: int) -> list[list[Column]]:
    """Columns that fit beside the first ones, and so on; texts of the first are cut to half of the width."""
    first = _narrowed(given[:keys], width // 2)
    blocks: list[list[Column]] = []
    for column in given[keys:]:
        if not blocks or _needed([*blocks[-1], column]) > width:
            blocks.append([*first])
        blocks[-1].append(_narrow(column, width // 2))
    return blocks


def _narrowed(given: Sequence[Column], width: int) -> list[Column]:
    """Columns that need no more than a width together, if cutting their texts, the longest first, can do that."""
    found = list(given)
    for at in sorted(range(len(found)), key=lambda i: -found[i].width):
        found[at] = _narrow(found[at], max(LEAST, found[at].width - max(0, _needed(found) - width)))
    return found


def _narrow(column: Column, width: int) -> Column:
    if not column.cut or column.width <= width:
        return column
    return Column(shortened(column.name, width), [shortened(each, width) for each in column.cells], column.left, True)


def _drawn(given: Sequence[Column]) -> list[str]:
    found = []
    for texts in zip(*([column.name, *column.cells] for column in given), strict=True):
        cells = []
        for column, text in zip(given, texts, strict=True):
            blank = " " * (column.width - cell_len(text))
            cells.append(text + blank if column.left else blank + text)
        found.append((" " * GAP).join(cells).rstrip())
    return found
