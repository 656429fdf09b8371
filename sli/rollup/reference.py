"""Reference tables: the states of a Parquet file, for example the training data, that windows are compared with.

Limit: every run that rolls up an SLI compared with such a table reads the whole table again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa

from sli.config.model import Config
from sli.engine.connection import connect
from sli.engine.expression import restrict_access
from sli.engine.sql import path_pattern, path_sql, quoted
from sli.engine.storage import Storage, filesystem, message_of
from sli.errors import ConfigError
from sli.logs.fields import ARROW_TYPES, FLOATS
from sli.logs.files import Files
from sli.logs.log import predictions_log
from sli.logs.pages import checksum_error_of_file
from sli.logs.values import value_sql
from sli.matching.pairs import pairs_sql
from sli.matching.sides import invalid_code
from sli.matching.spec import Spec
from sli.schemas import UTC
from sli.slis import Sli, State
from sli.tiles.aggregate import aggregate_pairs


def reference_tables(config: Config, slis: Iterable[Sli], files: Files) -> dict[str, pa.Table]:
    """The tiles of each reference table that SLIs are compared with, by its path. Raises ConfigError.

    A column is read with the type it has in the predictions log, since the slices 1 and 1.0 are different slices.
    """
    first = files.first_usable
    types = predictions_log(config).column_types(first) if first else {}
    states_by_path: dict[str, dict[str, State]] = {}
    for sli in slis:
        if sli.reference is not None and sli.reference.kind == "table":
            states = [state for state in sli.formula.states.values() if state.merges]
            states_by_path.setdefault(sli.reference.path, {}).update({state.id: state for state in states})
    return {path: reference_tiles(config, path, states.values(), types) for path, states in states_by_path.items()}


def reference_tiles(config: Config, path: str, states: Iterable[State], types: Mapping[str, str]) -> pa.Table:
    """The states of a reference table, a Parquet file with the columns of the predictions log, all in one tile.

    Its pairs have a prediction if the file has the value column of the predictions log, and a label if it has that of
    the feedback log. `types` are the types of the predictions log. Raises ConfigError.
    """
    spec = replace(Spec.of(config, 0, [], config.slice_sets, 1), states=tuple(states), windows=())
    con = connect(config.parallel, config.task_memory)
    try:
        _open(con, config.storage, path)
        names = _show_pairs(con, config.columns, path, spec, types)
        tiles = pa.concat_tables([aggregate_pairs(con, columns, spec) for columns in config.slice_sets])
        fs, place = filesystem(path, config.storage)
        with fs.open(place, "rb") as file:
            if problem := checksum_error_of_file(file, frozenset(names)):
                raise OSError(problem)
        return tiles.append_column("start", pa.array([0] * len(tiles), pa.int64()).cast(UTC))
    except (duckdb.Error, OSError) as error:
        raise ConfigError(
            "the reference table cannot be used",
            where=path,
            expected="a Parquet file with the value and the declared columns of the predictions log",
            found=message_of(error),
        ) from error
    finally:
        con.close()


def _open(con: duckdb.DuckDBPyConnection, storage: Storage, path: str) -> None:
    """Let a connection read this file and nothing else."""
    places = [path, path_pattern(path)]
    if "://" in path:
        fs, place = filesystem(path, storage)
        con.register_filesystem(fs)
        places.append(fs.unstrip_protocol(place))
    restrict_access(con, places)


def _show_pairs(
    con: duckdb.DuckDBPyConnection, logged: Sequence[str], path: str, spec: Spec, types: Mapping[str, str]
) -> list[str]:
    """Create view `pairs` of the rows of a file, all in tile 0. Returns the names of the file's columns."""
    read = f"read_parquet({path_sql(path)}, file_row_number=true)"
    described = con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()
    kinds = {str(name): ARROW_TYPES.get(kind, kind.lower()) for name, kind, *_ in described}
    columns = "".join(f", {_as_logged(name, types.get(name, ''))} AS {quoted(name)}" for name in logged)
    kept = "".join(f", {quoted(name)}" for name in logged)
    given, known = (
        value_sql(source, {source.value: kinds[source.value]}) if source.value in kinds else "NULL::DOUBLE"
        for source in (spec.predictions, spec.feedback)
    )
    # A value that would be set aside in a log becomes null here.
    value, truth = (
        f"CASE WHEN {invalid_code(log, spec.task, quoted(name))} = 0 THEN {quoted(name)} END"
        for log, name in (("predictions", "sli:given"), ("feedback", "sli:known"))
    )
    con.execute(
        f"CREATE TEMP VIEW pairs AS {pairs_sql(spec)} FROM (SELECT 0 AS tile, k, 0 AS t, {value} AS value, 0 AS f_t, "
        f"{truth} AS truth{kept} FROM (SELECT hash(file_row_number) AS k, '' AS id, "
        f"{given} AS {quoted('sli:given')}, {known} AS {quoted('sli:known')}{columns} FROM {read}))"
    )
    return list(kinds)


def _as_logged(name: str, kind: str) -> str:
    """SQL of a column with the type it has in the logs."""
    kinds = {
        "bool": "BOOLEAN",
        "int": "BIGINT",
        "uint": "UBIGINT",
        "string": "VARCHAR",
        "large": "VARCHAR",
        "hive": "VARCHAR",
    }
    if kind in FLOATS:
        return f"CASE WHEN isfinite({quoted(name)}::DOUBLE) THEN {quoted(name)}::DOUBLE + 0.0 END"
    cast = next((sql for start, sql in kinds.items() if kind.startswith(start)), None)
    return f"{quoted(name)}::{cast}" if cast else quoted(name)
