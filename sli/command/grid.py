"""Tables as lines of plain text: cut to the width of a terminal, whole in a pipe.

On a terminal long texts end in `…`. Columns that still do not fit go to further blocks below, each with the first
columns again. Limit: a character is as wide as it is on most terminals.
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
"""A long text is cut to this width at least, if a table does not fit."""


@dataclass(frozen=True)
class Column:
    """A column: its name, its texts, and how it is shown."""

    name: str
    cells: Sequence[str]
    left: bool = False
    """Whether it is aligned left, like texts; numbers are aligned right."""
    cut: bool = False
    """Whether its texts may be cut."""

    @functools.cached_property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def columns(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str] = (), whole: Collection[str] = ()
) -> list[Column]:
    """The columns of rows. Columns in `left` hold texts, which may be cut; those in `whole` texts never cut."""
    cells = list(zip(*([printed(text) for text in row] for row in rows), strict=True)) or [()] * len(names)
    return [
        Column(name, texts, name in left or name in whole, name in left and name not in whole)
        for name, texts in zip(names, cells, strict=True)
    ]


def printed(text: str) -> str:
    """A text without control characters: a newline becomes the two letters `\\n`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def terminal_width() -> int | None:
    """The width of the terminal; None in a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines(table: Sequence[Column], width: int | None, *, keys: int = 0, must: int = 1) -> list[str]:
    """The table as text.

    If it is too wide and `keys` is given, its columns are printed in blocks; each block begins with the first `keys`
    columns. Without `keys` its last columns are left out and named below, but never one of the first `must`.
    """
    if width is None or needed(table) <= width:
        return _drawn(table)
    if keys:
        drawn = [line for block in _blocks(table, width, keys) for line in (*_drawn(block), "")][:-1]
    else:
        count = next((n for n in range(len(table), must, -1) if needed(table[:n]) <= width), must)
        drawn = _drawn(_narrowed(table[:count], width))
        names = ", ".join(column.name for column in table[count:])
        drawn += [f"no room for: {names}; --json has all"] if names else []
    return [shortened(line, width) for line in drawn]


def shortened(text: str, width: int | None) -> str:
    """The line, cut to fit, with `…` at its end if it is cut."""
    return text if width is None or cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def needed(table: Sequence[Column]) -> int:
    """The width of a table that is drawn whole."""
    return sum(column.width for column in table) + GAP * (len(table) - 1)


def _blocks(table: Sequence[Column], width: int, keys: int) -> list[list[Column]]:
    """Blocks of columns that fit the width, each with the first columns, whose texts get at most half of it."""
    first = _narrowed(table[:keys], width // 2)
    blocks: list[list[Column]] = []
    for column in table[keys:]:
        if not blocks or needed([*blocks[-1], column]) > width:
            blocks.append([*first])
        blocks[-1].append(_narrow(column, width // 2))
    return blocks


def _narrowed(table: Sequence[Column], width: int) -> list[Column]:
    """The columns with their texts cut, the longest first, until they fit or cannot be cut further."""
    columns = list(table)
    for place in sorted(range(len(columns)), key=lambda i: -columns[i].width):
        columns[place] = _narrow(columns[place], max(LEAST, columns[place].width - max(0, needed(columns) - width)))
    return columns


def _narrow(column: Column, width: int) -> Column:
    if not column.cut or column.width <= width:
        return column
    return Column(shortened(column.name, width), [shortened(cell, width) for cell in column.cells], column.left, True)


def _drawn(table: Sequence[Column]) -> list[str]:
    drawn = []
    for texts in zip(*([column.name, *column.cells] for column in table), strict=True):
        cells = []
        for column, text in zip(table, texts, strict=True):
            blank = " " * (column.width - cell_len(text))
            cells.append(text + blank if column.left else blank + text)
        drawn.append((" " * GAP).join(cells).rstrip())
    return drawn
