"""Checks before any work: does the config's SQL fit the columns of the logs, and may its Python code run?

SQL is tried on an empty table with the columns of the logs. Limit: it has the types of the first usable file; SQL that
does not fit another file fails when that file is read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sli.calendar.interval import Interval
from sli.config.checks import KERNEL_COLUMNS
from sli.config.entries import PythonSli
from sli.config.model import Config
from sli.config.sections import Cluster, Factory
from sli.engine.expression import CHECK_SECONDS, named_columns, restrict_access, run_within
from sli.engine.sql import quoted
from sli.engine.storage import NO_OPTIONS
from sli.engine.trust import check_code_allowed
from sli.errors import ConfigError, nearest
from sli.logs.damaged import reading
from sli.logs.fields import HIVE, columns_of, form_and_type, is_text, type_of
from sli.logs.files import Files, Inputs, LogFile
from sli.logs.log import Log, logs_of, predictions_log
from sli.logs.reader import rows_sql
from sli.matching.pairs import pairs_sql
from sli.matching.spec import Spec
from sli.slis import Sli, State
from sli.tiles.aggregate import queries_sql

if TYPE_CHECKING:
    import duckdb


def check_states(config: Config, files: Files) -> None:
    """Try the SQL of every state on an empty table with the logs' types. Raises ConfigError."""
    first = files.first_usable
    if first is None:
        return
    _check_numbers(config.edges, predictions_log(config), config.declared, first)
    if config.edges:
        _check_partitions(config.edges, files.take(files.usable))
    _try(_Trial(_what_decides(config, first), config, first))


@dataclass(frozen=True)
class _Trial:
    """A config whose SQL is tried on the types of a file; equal to another if the same SQL meets the same types."""

    decides: tuple[object, ...]
    config: Config = field(compare=False)
    file: LogFile = field(compare=False)


def _what_decides(config: Config, file: LogFile) -> tuple[object, ...]:
    """All that the SQL of the states can fail for: the types of the file, the SQL of its rows and of each state."""
    spec = Spec.of(config, 0, [], (), 1)
    log = repr(replace(spec.predictions, storage=NO_OPTIONS))
    states = [
        (sli.name, name, state.trial, state.of, "states" in sli.declaration)
        for sli in config.declared
        for name, state in sli.formula.states.items()
    ]
    return (
        *(file.log, file.columns, tuple(file.folders.items()), log),
        *(pairs_sql(spec), queries_sql((), spec), *states),
    )


@functools.lru_cache(maxsize=256)
def _try(trial: _Trial) -> None:
    """Try the SQL of every state. Raises ConfigError. What passed once passes again, and opening a database is slow."""
    import duckdb

    config, first = trial.config, trial.file
    spec = Spec.of(config, 0, [], (), 1)
    with reading(1, 1 << 28, [(spec.predictions, [first])], first.path) as con:
        rows = rows_sql(con, [first], spec.predictions, Interval(0, 0))
        con.execute(
            f"CREATE TEMP TABLE pairs AS {pairs_sql(spec)} FROM (SELECT *, 0 AS tile, 0::UBIGINT AS k, "
            f"NULL::DOUBLE AS truth, NULL::BIGINT AS f_t FROM {rows} LIMIT 0)"
        )
        con.execute(f"CREATE TEMP VIEW queries AS {queries_sql((), spec)}")
        restrict_access(con)
        for sli in config.declared:
            for name, state in sli.formula.states.items():
                try:
                    # DESCRIBE binds the query without running it, so no constant expression in it is computed.
                    run_within(con, CHECK_SECONDS, functools.partial(con.execute, f"DESCRIBE {state.trial}"))
                except (duckdb.Error, TimeoutError) as error:
                    raise _unusable_sql(con, sli, name, error) from error
                if "states" in sli.declaration:
                    _check_text(con, sli, name, state, _computed_texts(spec.predictions, first))


def _computed_texts(log: Log, file: LogFile) -> set[str]:
    """The columns whose texts come from JSON or SQL, so that any text may be among them."""
    forms = {name: form_and_type(file.types[log.field(name)]) for name in log.columns}
    return {name for name, (form, kind) in forms.items() if form and is_text(kind)}


def _check_text(con: duckdb.DuckDBPyConnection, sli: Sli, name: str, state: State, texts: Collection[str]) -> None:
    """Raise ConfigError where a state takes a text from JSON for a number: one that is none would end the run."""
    inner = state.of.removesuffix("::DOUBLE")
    used = sorted({*texts} & named_columns(inner)) if texts and inner != state.of else []
    if used and con.execute(f"DESCRIBE SELECT {inner} FROM pairs").fetchall()[0][1] == "VARCHAR":
        raise ConfigError(
            f"'{used[0]}' is text where a number is needed",
            where=f"slis, {sli.name}, states.{name}",
            found=str(_as_written(sli, name)),
            todo=f"write TRY_CAST({used[0]} AS DOUBLE)",
        )


def _unusable_sql(con: duckdb.DuckDBPyConnection, sli: Sli, state: str, error: Exception) -> ConfigError:
    columns = [row[0] for row in con.execute("DESCRIBE pairs").fetchall()]
    columns = [name for name in columns if name not in KERNEL_COLUMNS]
    reason = str(error).partition("\n")[0] or "checking it takes too long"
    unknown = re.search(r'column "([^"]+)"', str(error))
    near = nearest(unknown[1], columns) if unknown else ""
    return ConfigError(
        "the SQL of a state cannot be used",
        where=f"slis, {sli.name}, states.{state}",
        expected=f"SQL over the columns {', '.join(columns)}",
        found=f"{_as_written(sli, state)}: {reason}",
        todo=near or (f"list {unknown[1]} under predictions.columns" if unknown else ""),
    )


MISSING = re.compile(r"no column '(?P<name>.*?)', only (?P<there>.*?)(?:; .*)?")


def check_names(config: Config, inputs: Inputs) -> None:
    """Raise ConfigError for a column that every file of a log lacks, because then the config misspells it."""
    for log in logs_of(config):
        files = inputs.files.of_logs([log.name])
        if files.usable.any():
            continue
        lacking = [file for file in files if file.problem not in ("unreadable", "damaged")]
        reasons = [MISSING.fullmatch(file.explanation) for file in lacking if file.problem == "missing column"]
        names = {reason["name"] for reason in reasons if reason}
        if not reasons or len(reasons) < len(lacking) or len(names) != 1 or reasons[0] is None:
            continue
        [name], there = names, reasons[0]["there"]
        raise ConfigError(
            f"no file of the {log.name} log has a column '{name}'",
            where=_key_of(config, log, name),
            expected=f"one of {there}",
            found=f"{name}, missing in {len(lacking)} file{'s' * (len(lacking) != 1)}, for example {lacking[0].path}",
            todo=nearest(name, there.split(", ")) or "check the name, or log the column",
        )


def _key_of(config: Config, log: Log, name: str) -> str:
    """The key of the config that names a column."""
    named = {"id": [part.field for part in log.id], "time": [log.time.field] if log.time else [], "value": [log.value]}
    if log.name == "predictions":
        named["query"] = [config.predictions.query] if config.predictions.query else []
    if log.where:
        named["where"] = sorted(named_columns(log.where))
    for key, fields in named.items():
        if any(name == field or name in columns_of(field) for field in fields):
            return f"{log.key}.{key}"
    if any(name in columns for columns in config.slice_sets):
        return "slice_by"
    return "predictions.scores" if name in config.scores.values() else "predictions.columns"


def check_code(slis: Iterable[Sli], cluster: Cluster) -> None:
    """Raise ConfigError if the config names Python code and `--no-code` forbids it."""
    named = [f"slis, {sli.name}: {sli.declaration['python']}" for sli in slis if "python" in sli.declaration]
    factory = [f"dask: {cluster.factory}"] if isinstance(cluster, Factory) else []
    check_code_allowed([*named, *factory])


def load_code(slis: Sequence[Sli]) -> None:
    """Import the Python functions of the config's SLIs, so that a missing one ends a run before any work."""
    for sli in slis:
        if isinstance(sli, PythonSli):
            sli.load()


NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal", "bool", "hive", "null")
"""How the names of the types begin whose columns can have bins."""


def _check_numbers(edges: Mapping[str, Sequence[float]], log: Log, slis: Sequence[Sli], file: LogFile) -> None:
    """Raise ConfigError for a text column where a number is needed; else its cast would fail later, on the rows."""
    for name in log.columns:
        kind = type_of(file.types[log.field(name)])
        if name in edges and not kind.startswith(NUMBERS):
            raise ConfigError("bins need a column of numbers", where=f"bins.{name}", expected="a number", found=kind)
        if not kind.startswith(("string", "large_string", "dictionary")):
            continue
        number = f"{quoted(name)}::DOUBLE"
        wanting = [
            f"slis, {sli.name}"
            for sli in slis
            if "states" not in sli.declaration
            and any(number in part for state in sli.formula.states.values() for part in (state.of, state.amount))
        ]
        if wanting:
            raise ConfigError(
                f"'{name}' is text where a number is needed", where=wanting[0], expected="a numeric column", found=kind
            )


def _check_partitions(edges: Mapping[str, Sequence[float]], files: Iterable[LogFile]) -> None:
    """Raise ConfigError for bins of a column in the paths of the files (`name=value`) whose values are not numbers."""
    for file in files:
        for name, text in file.folders.items():
            if name in edges and file.types.get(name) == HIVE and text is not None and not _is_number(text):
                raise ConfigError(
                    "bins need a column of numbers",
                    where=f"bins.{name}",
                    expected="a number",
                    found=f"{name}={text} in {file.path}",
                )


def _is_number(text: str) -> bool:
    try:
        return bool(float(text) == float(text))
    except ValueError:
        return False


def _as_written(sli: Sli, name: str) -> object:
    """A state as the config has it, or its SQL if the SLI is a built-in one."""
    written = sli.declaration.get("states")
    return written[name] if isinstance(written, Mapping) and name in written else sli.formula.states[name].of
