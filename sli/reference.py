"""Before any work: every state's SQL tried on the logs' types; and the states of reference tables.

Limit: a reference table is read anew by every run that rolls up an SLI compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from sli.aggregation import queries, states_of, trial
from sli.config import KERNEL_COLUMNS, Config
from sli.errors import ConfigError, nearest
from sli.intervals import Interval
from sli.logs import LogFile
from sli.match import Spec, invalid_code, paired
from sli.scan import check_readable, connect, failed, rows_of
from sli.schemas import UTC
from sli.slices import literal, quoted
from sli.slis import Sli, State
from sli.storage import filesystem, plain


def check_states(config: Config, files: Iterable[LogFile]) -> None:
    """Try every state's SQL on an empty table of the logs' types, before any work. Raises ConfigError."""
    files = [file for file in files if file.usable]
    first = next(iter(files), None)
    if first is None:
        return
    _check_numbers(config, first)
    _check_partitions(config, files)
    con = connect(1, 1 << 28)
    spec = Spec.of(config, 0, [], (), 1)
    rows = rows_of(con, [first], spec.predictions, config.timezone, Interval(0, 0))
    try:
        con.execute(
            f"CREATE TEMP TABLE pairs AS {paired(spec)} FROM (SELECT *, 0 AS tile, 0::UBIGINT AS k, "
            f"NULL::DOUBLE AS truth, NULL::BIGINT AS f_t FROM {rows} LIMIT 0)"
        )
        con.execute(f"CREATE TEMP VIEW queries AS {queries((), spec)}")
    except (duckdb.Error, OSError) as error:
        check_readable([first], spec.predictions, config.timezone, error)
        raise failed(error, first.path) from error
    for sli in config.declared:
        for name, state in sli.formula.states.items():
            try:
                con.execute(trial(state))
            except duckdb.Error as error:
                columns = [row[0] for row in con.execute("DESCRIBE pairs").fetchall()]
                columns = [each for each in columns if each not in KERNEL_COLUMNS]
                wrong = re.search(r'column "([^"]+)"', str(error))
                near = nearest(wrong[1], columns) if wrong else ""
                raise ConfigError(
                    "the SQL of a state cannot be used",
                    where=f"slis, {sli.name}, states.{name}",
                    expected=f"SQL over the columns {', '.join(columns)}",
                    found=f"{_as_written(sli, name)}: {str(error).splitlines()[0]}",
                    todo=near or (f"list {wrong[1]} under predictions.columns" if wrong else ""),
                ) from error


NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal", "bool", "hive", "null")
"""How the types of columns begin that bins can be made of."""


def _check_numbers(config: Config, file: LogFile) -> None:
    """Refuse a text column where a number is needed: its cast would fail on the rows only."""
    for name, kind in file.types.items():
        if name in config.edges and not kind.startswith(NUMBERS):
            raise ConfigError("this column has no bins", where=f"bins.{name}", expected="a number", found=kind)
        if name not in config.columns or not kind.startswith(("string", "large_string", "dictionary")):
            continue
        number = f"{quoted(name)}::DOUBLE"
        wanting = [
            f"slis, {sli.name}"
            for sli in config.declared
            if "states" not in sli.declaration
            and any(number in part for state in sli.formula.states.values() for part in (state.of, state.amount))
        ]
        if wanting:
            raise ConfigError(
                f"'{name}' is text where a number is needed", where=wanting[0], expected="a numeric column", found=kind
            )


def _check_partitions(config: Config, files: Iterable[LogFile]) -> None:
    """Refuse bins of a column that is part of the path and no number there."""
    for file in files:
        for part in file.path.split("/"):
            name, _, text = part.partition("=")
            if name in config.edges and file.types.get(name) == "hive" and not _is_number(text):
                raise ConfigError(
                    "this column has no bins", where=f"bins.{name}", expected="a number", found=f"{part} in {file.path}"
                )


def _is_number(text: str) -> bool:
    try:
        return bool(float(text) == float(text))
    except ValueError:
        return text == "__HIVE_DEFAULT_PARTITION__"


def _as_written(sli: Sli, name: str) -> Any:
    written = sli.declaration.get("states")
    return written[name] if isinstance(written, Mapping) and name in written else sli.formula.states[name].of


def reference_tables(config: Config, slis: Iterable[Sli], files: Iterable[LogFile]) -> dict[str, pa.Table]:
    """The states of each reference table that SLIs are compared with, by its path. Raises ConfigError.

    Its columns are read as those of the logs' files: the texts of 1 and 1.0 differ.
    """
    types = next((file.types for file in files if file.usable), {})
    found: dict[str, dict[str, State]] = {}
    for each in slis:
        if each.reference is not None and each.reference.kind == "table":
            states = [state for state in each.formula.states.values() if state.kind != "window"]
            found.setdefault(each.reference.path, {}).update({state.id: state for state in states})
    return {path: reference_tiles(config, path, states.values(), types) for path, states in found.items()}


def reference_tiles(config: Config, path: str, states: Iterable[State], types: Mapping[str, str]) -> pa.Table:
    """The states of a reference table, a Parquet file with the columns of the predictions log, all in one tile.

    Its pairs have a prediction and a label where the file has the logs' value columns. Raises ConfigError.
    """
    spec = replace(Spec.of(config, 0, [], config.slice_sets, 1), states=tuple(states), windows=())
    con = connect(config.parallel, config.task_memory)
    try:
        if "://" in path:
            con.register_filesystem(filesystem(path)[0])
        read = f"read_parquet({literal(path)}, file_row_number=true)"
        there = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
        columns = "".join(f", {_as_logged(name, types.get(name, ''))} AS {quoted(name)}" for name in config.columns)
        kept = "".join(f", {quoted(name)}" for name in config.columns)
        given, known = (
            source.value_sql if source.value in there else "NULL::DOUBLE"
            for source in (spec.predictions, spec.feedback)
        )
        # What a log would set aside is no value here.
        value, truth = (
            f"CASE WHEN {invalid_code(log, spec, quoted(name))} = 0 THEN {quoted(name)} END"
            for log, name in (("predictions", "sli:given"), ("feedback", "sli:known"))
        )
        con.execute(
            f"CREATE TEMP VIEW pairs AS {paired(spec)} FROM (SELECT 0 AS tile, k, 0 AS t, {value} AS value, 0 AS f_t, "
            f"{truth} AS truth{kept} FROM (SELECT hash(file_row_number) AS k, '' AS id, "
            f"{given} AS {quoted('sli:given')}, {known} AS {quoted('sli:known')}{columns} FROM {read}))"
        )
        made = pa.concat_tables([states_of(con, columns, spec) for columns in config.slice_sets])
        return made.append_column("start", pa.array([0] * len(made), pa.int64()).cast(UTC))
    except (duckdb.Error, OSError) as error:
        raise ConfigError(
            "the reference table cannot be used",
            where=path,
            expected="a Parquet file with the value and the declared columns of the predictions log",
            found=plain(error),
        ) from error
    finally:
        con.close()


def _as_logged(name: str, kind: str) -> str:
    """A column as the logs hold it."""
    kinds = {
        "bool": "BOOLEAN",
        "int": "BIGINT",
        "uint": "UBIGINT",
        "string": "VARCHAR",
        "large": "VARCHAR",
        "hive": "VARCHAR",
    }
    if kind in ("float", "double", "halffloat"):
        return f"CASE WHEN isfinite({quoted(name)}::DOUBLE) THEN {quoted(name)}::DOUBLE + 0.0 END"
    cast = next((sql for start, sql in kinds.items() if kind.startswith(start)), None)
    return f"{quoted(name)}::{cast}" if cast else quoted(name)
