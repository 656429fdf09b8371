"""All chosen windows as OpenMetrics with time stamps, from which promtool makes blocks for Prometheus.

Each sample stands at the end of its window. Metric by metric, then series by series, then in order of time, as the
format asks for; DuckDB sorts, and spills what exceeds `memory:`. Limit: what a window was believed to be earlier is not
exported; Prometheus has one value for a time.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from sli.engine.connection import connected
from sli.engine.storage import message_of
from sli.errors import ConfigError, ExportError
from sli.export.chosen import chosen, chosen_rows
from sli.export.replacing import replacing
from sli.export.samples import COLUMNS, FAMILIES, UNITS, Family, header, number, seconds, windows_of
from sli.reading.publication import Publication
from sli.report.rows import stretches
from sli.schemas import RESULTS

if TYPE_CHECKING:
    import duckdb

BATCH = 100_000
"""How many samples are in memory at once."""


FIRST = f"# HELP {FAMILIES[0].name}"
"""How such a file begins, unless no window has a value."""
LAST = "# EOF"


def save_history(publication: Publication, path: str) -> int:
    """Write the samples of all chosen windows to a file; returns how many. Raises SliError.

    The file takes the place of an older one that sli wrote, and of nothing else.
    """
    try:
        _check_own(path)
        with replacing(path) as file:
            return write_history(publication, file)
    except OSError as error:
        raise ExportError("the history cannot be written", where=path, found=message_of(error)) from error


def _check_own(path: str) -> None:
    """Raise ConfigError unless there is no file yet, or one with metrics of sli."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        found = file.read(len(FIRST))
        if not (found.startswith((FIRST, LAST)) or found == ""):
            raise ConfigError(
                "this file is not one that sli wrote", where="--history", found=path, todo="choose another name"
            )


def write_history(publication: Publication, file: TextIO) -> int:
    """Write the samples of all chosen windows; returns how many. Raises StoreError, EngineError, OSError."""
    config, samples = publication.config, 0
    with connected(config.parallel, config.task_memory) as con:
        _collect(publication, con)
        seen = set[str]()
        for family in FAMILIES:
            for unit, suffix in enumerate(UNITS if family.own_unit else ("",)):
                for batch in _batches(con, family, unit):
                    name = family.name + suffix
                    if name not in seen:
                        seen.add(name)
                        file.write(header(name, family.help))
                    file.writelines(_lines(name, family.label, batch))
                    samples += len(batch)
        con.execute("DROP TABLE windows")
    file.write(f"{LAST}\n")
    return samples


def _collect(publication: Publication, con: duckdb.DuckDBPyConnection) -> None:
    """The chosen windows as the temporary table `windows`."""
    choice, config = chosen(publication), publication.config
    parts = ((grain, days) for grain in choice.grains for days in stretches(publication, grain))
    batches = (chosen_rows(publication, choice, grain, days) for grain, days in parts)
    how = "CREATE TEMPORARY TABLE windows AS"
    for rows in itertools.chain([RESULTS.empty_table().select(COLUMNS)], batches):
        con.register("batch", windows_of(rows, config))
        con.execute(f"{how} SELECT * FROM batch")
        con.unregister("batch")
        how = "INSERT INTO windows"


def _batches(con: duckdb.DuckDBPyConnection, family: Family, unit: int) -> Iterator[list[tuple[str, int, float]]]:
    """The samples of a metric: labels, end and value."""
    of_unit = f"AND unit = {unit}" if family.own_unit else ""
    found = con.execute(
        f'SELECT labels, "end", {family.column} FROM windows WHERE {family.column} IS NOT NULL {of_unit} '
        'ORDER BY labels, "end"'
    )
    while batch := found.fetchmany(BATCH):
        yield batch


def _lines(name: str, label: str, batch: list[tuple[str, int, float]]) -> Iterator[str]:
    more = f",{label}" if label else ""
    return (f"{name}{{{labels}{more}}} {number(value)} {number(seconds(end))}\n" for labels, end, value in batch)
