"""`sli sql`: prints the rows of a SELECT statement over what is published.

Limit: in a table the first rows decide how wide a column is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import pyarrow as pa

from sli.command.formats import gathered, print_rows, texts
from sli.command.grid import columns, lines, terminal_width
from sli.command.output import check_format, print_lines
from sli.config.load import load_config
from sli.engine.arrow import combined
from sli.reading.rows import Rows
from sli.reading.sql.execute import sql_rows


def sql(options: argparse.Namespace) -> int:
    """Print the rows of the statement; returns the exit code. Raises SliError."""
    format = options.format or ("json" if options.json else None)
    if format is not None:
        check_format(format)
    rows = sql_rows(load_config(options.config, options.settings), options.statement)
    if format is not None:
        print_rows(rows, format)
        return 0
    width = terminal_width()
    for some in table_lines(rows, width):
        print_lines(some)
    return 0


def table_lines(rows: Rows, width: int | None) -> Iterator[Sequence[str]]:
    """The rows as a table, some lines at a time: a header, then a line for each row. No cell is empty."""
    left = [field.name for field in rows.schema if not _is_number(field.type)]
    header = True
    for table in gathered(rows.batches):
        cells = [[_cell(text) for text in texts(combined(column))] for column in table.columns]
        drawn = lines(columns(table.schema.names, zip(*cells, strict=True), left=left), width)
        yield drawn if header else drawn[1:]
        header = False
    if header:
        yield lines(columns(rows.schema.names, [], left=left), width)


def _cell(text: str | None) -> str:
    return "-" if text is None else text or '""'


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
