"""What must fit together across the keys of a config: places, the task and its keys, slices and grains.

Limit: these checks see the config alone. Whether a log has a column is checked when the logs are discovered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from sli.calendar.duration import DAY, FOREVER, Duration
from sli.calendar.grain import Grain
from sli.config.export_sections import Export
from sli.config.log_sections import Feedback, IdSetting, Labels, Predictions, TimeColumn, TimeFrom
from sli.config.sections import Cluster, StoreSection
from sli.engine.storage import check_no_credentials
from sli.errors import ConfigError, check_known
from sli.slices import SliceBy
from sli.slis.formula import PAIR_COLUMNS

UNREACHABLE = "#%?[\\]^|"
"""Characters of a path with which the table library fails, or does not find the history of a table."""
KERNEL_COLUMNS = ("id", "t", "k", "k2", "value", "tile", "cell", "filename", "f_t", "f_value", "truth", "predictions")
"""Names of columns that tasks use internally."""
TABLES = ("audit", "days", "inputs", "keys", "results", "revisions", "runs", "tiles")
"""The tables of a store, each a folder of it."""
SHORTEST_KEEP = DAY
"""Replaced files stay at least so long, since whoever opened them may still read them."""


def check_named(path: str, where: str, expected: str) -> None:
    """Raise ConfigError if a path is empty: it would be the folder of the config."""
    if not path.strip():
        raise ConfigError("the path is empty", where=where, expected=expected, found=repr(path))


def check_store(store: StoreSection) -> None:
    """Raise ConfigError if tables cannot be stored there, or if what was replaced in them would go too soon."""
    path = store.path
    check_named(path, "store", "a folder, or an s3:// URL")
    scheme = path.partition("://")[0] if "://" in path else "file"
    if scheme not in ("file", "s3", "s3a"):
        raise ConfigError(
            "tables cannot be stored there", where="store", expected="a folder, or an s3:// URL", found=f"{scheme}://"
        )
    if strange := sorted(set(path) & set(UNREACHABLE)):
        raise ConfigError(
            "tables cannot be stored at a path with such characters",
            where="store",
            expected=f"a path without any of {' '.join(UNREACHABLE)}",
            found=f"{' '.join(strange)} in {path}",
        )
    check_no_credentials(path, "store")
    for key, length in (("keep_files", store.keep_files), ("history", store.history)):
        if length.micros < SHORTEST_KEEP:
            raise ConfigError("this is too short", where=f"store.{key}", expected="1d or longer", found=length.text)


def check_apart(store: str, paths: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError if a log lies in a table's folder: maintenance would take its files for left-over ones."""
    tables = [f"{store.rstrip('/')}/{name}" for name in TABLES]
    for key, path in ((key, path) for key, several in paths.items() for path in several):
        if any(f"{path.rstrip('/')}/".startswith(f"{table}/") for table in tables):
            raise ConfigError(
                "a log lies in a folder that belongs to a table of the store",
                where=key,
                found=path,
                todo="keep logs out of the store",
            )


def check_logs(paths: Mapping[str, Sequence[str]], dask: Cluster) -> None:
    """Raise ConfigError if a log cannot be read from its paths; `paths` are by their key in the config."""
    for key, path in ((key, path) for key, several in paths.items() for path in several):
        check_named(path, key, "a folder, file, pattern or table, or a URL")
        check_no_credentials(path, key)
        if path.startswith("memory://") and dask != "in-process":
            raise ConfigError(
                "the processes of `dask` cannot read the memory of this process",
                where=key,
                found=path,
                todo="set `dask: in-process`, or log to a folder or an s3:// URL",
            )


def check_classes(task: str, classes: Sequence[str]) -> None:
    """Raise ConfigError unless a multiclass task, and no other, has classes."""
    if (task == "multiclass") != bool(classes):
        raise ConfigError(
            "a multiclass task needs its classes" if not classes else f"a {task} task has no classes",
            where="classes",
            expected="" if classes else "the names of all classes, for example [cat, dog]",
            found=", ".join(classes),
            todo="remove them, or write `task: multiclass`" if classes else "list them",
        )
    if len(set(classes)) != len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise ConfigError(
            "a class is listed twice", where="classes", found=", ".join(twice), todo="list each class once"
        )
    if len(classes) == 1:
        raise ConfigError(
            "`classes` needs at least two classes", where="classes", expected="two or more", found=classes[0]
        )


def check_scores(task: str, classes: Sequence[str], scores: Collection[str]) -> None:
    """Raise ConfigError if `predictions.scores` has a name that is not a class."""
    if scores and not classes:
        raise ConfigError(
            f"a {task} task has no scores for classes",
            where="predictions.scores",
            todo="remove them, or write `task: multiclass` and its classes",
        )
    for name in scores:
        check_known(f"'{name}' is not one of `classes`", name, classes, where="predictions.scores")


def _check_source(task: str, name: str, source: Predictions | Feedback) -> None:
    """Raise ConfigError for keys of one log that do not go together; `name` is its place in the config."""
    if isinstance(source.id, tuple) and len(source.id) < 2:
        raise ConfigError(
            "a list of columns needs at least two", where=f"{name}.id", found=str(len(source.id)), todo="name both"
        )
    if isinstance(source.time, TimeColumn) and (source.time.unit is None) == (source.time.format is None):
        raise ConfigError(
            "a time column has a `unit` (numbers) or a `format` (texts)",
            where=f"{name}.time",
            expected="one of {column: event_ms, unit: ms} and {column: at, format: '%d/%m/%Y %H:%M'}",
            todo=f"for timestamps and ISO 8601 texts write `time: {source.time.column}`",
        )
    if source.where is not None and not source.where.strip():
        raise ConfigError("`where` is empty", where=f"{name}.where", todo="remove it, or write an SQL condition")
    if source.labels is not None:
        check_labels(task, source.labels, f"{name}.labels")


def check_logs_fit(task: str, sources: Mapping[str, Predictions | Feedback]) -> None:
    """Raise ConfigError for keys of the logs that do not go with the task or with each other.

    `sources`: the sections of the logs by their place in the config.
    """
    predictions, feedback = sources["predictions"], [log for log in sources.values() if isinstance(log, Feedback)]
    if not feedback:
        raise ConfigError("there is no feedback log", where="feedback", expected="the keys of a log, or a list of them")
    for name, source in sources.items():
        _check_source(task, name, source)
    if isinstance(predictions.time, TimeFrom):
        raise ConfigError(
            "a prediction needs a time of its own",
            where="predictions.time",
            expected="a column",
            found=f"{{from: {predictions.time.source}}}",
            todo="name the column that says when the prediction was made",
        )
    if len({_parts(source.id) for source in sources.values()}) > 1:
        counts = ", ".join(f"{_parts(source.id)} in {name}" for name, source in sources.items())
        raise ConfigError(
            "the ids of the logs must have the same number of columns", where="predictions.id", found=counts
        )
    at_once = [isinstance(log.time, TimeFrom) and log.time.source == "prediction" for log in feedback]
    if any(at_once) and not (all(at_once) and not any(log.early.micros for log in feedback)):
        raise ConfigError(
            "feedback that is known at once goes neither with a later time nor with `early`",
            where="feedback.time",
            found="{from: prediction}",
            todo="write it for all feedback logs, without `early`",
        )
    for key in ("keep", "nulls", "early"):
        if len({str(getattr(log, key)) for log in feedback}) > 1:
            raise ConfigError(
                f"all feedback logs must have the same `{key}`",
                where=f"feedback[1].{key}",
                found=" and ".join(str(getattr(log, key)) for log in feedback),
            )


def _parts(setting: IdSetting) -> int:
    return len(setting) if isinstance(setting, tuple) else 1


def check_labels(task: str, labels: Labels, where: str) -> None:
    """Raise ConfigError unless both lists of `labels` have values, and none in common."""
    if task != "binary":
        todo = "map classes under `classes:`" if task == "multiclass" else "remove them, or write `task: binary`"
        raise ConfigError("only a binary task has `labels`", where=where, todo=todo)
    for name, values in (("positive", labels.positive), ("negative", labels.negative)):
        if not values:
            raise ConfigError("this list needs at least one value", where=f"{where}.{name}")
        if strange := [value for value in values if isinstance(value, float) and not math.isfinite(value)]:
            raise ConfigError("a label must be finite", where=f"{where}.{name}", found=str(strange[0]))
    if both := {*map(str, labels.positive)} & {*map(str, labels.negative)}:
        raise ConfigError("a value is in both lists", where=where, found=", ".join(sorted(both)))


def check_spellings(spellings: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError if two classes have a spelling in common."""
    owners: dict[str, str] = {}
    for texts in spellings:
        for text in texts:
            if owners.setdefault(text, texts[0]) != texts[0]:
                raise ConfigError(
                    "two classes have a spelling in common",
                    where="classes",
                    found=f"'{text}' for {owners[text]} and {texts[0]}",
                    todo="list each spelling under one class",
                )


def check_query(task: str, query: str | None) -> None:
    """Raise ConfigError unless a ranking task, and no other, has `predictions.query`."""
    if task == "ranking" and query is None:
        raise ConfigError(
            "a ranking task needs `query`, the column that groups the predictions that were ranked together",
            where="predictions.query",
            expected="for example `query: session_id`",
            todo="name the column",
        )
    if task != "ranking" and query is not None:
        raise ConfigError(
            "only a ranking task has `query`",
            where="predictions.query",
            found=query,
            todo="remove it, or write `task: ranking`",
        )


def check_slices(slice_sets: Sequence[SliceBy]) -> None:
    """Raise ConfigError if a set of slices is listed twice or names a column twice."""
    if not slice_sets:
        raise ConfigError(
            "`slice_by` lists no slice", where="slice_by", expected="at least [[]], all predictions together"
        )
    for columns in slice_sets:
        if len(set(columns)) != len(columns):
            raise ConfigError("a slice names a column twice", where="slice_by", found=str(list(columns)))
        if slice_sets.count(columns) > 1:
            raise ConfigError("a slice is listed twice", where="slice_by", found=str(list(columns)))


def check_duplicates_within(within: Duration | None, horizon: Duration, feedback: Feedback) -> None:
    """Raise ConfigError if feedback could count for two predictions with its id."""
    if within is None or within == FOREVER:
        return
    if isinstance(feedback.time, TimeFrom) and feedback.time.source == "prediction":
        raise ConfigError(
            "feedback without a time does not say which of two predictions with its id it is for",
            where="duplicates_within",
            expected="forever",
            found=within.text,
            todo="leave the key out, or log when feedback becomes known",
        )
    if within.micros < horizon.micros + feedback.early.micros:
        early = f" and feedback.early ({feedback.early.text})" if feedback.early.micros else ""
        raise ConfigError(
            "feedback could count for two predictions with its id",
            where="duplicates_within",
            expected=f"at least as long as horizon ({horizon.text}){early}, or forever",
            found=within.text,
            todo="write a longer one, or leave the key out",
        )


def check_columns(columns: Sequence[str], query: str | None) -> None:
    """Raise ConfigError if a column of slices or SLIs has a name that sli uses itself."""
    for name in columns:
        if "," in name:
            raise ConfigError(
                f"the name of the column '{name}' has a comma",
                where="slice_by or predictions.columns",
                todo="log the column under another name",
            )
        if re.fullmatch(r"slice_\d+|own_\d+", name) or (
            name.lower() in (*PAIR_COLUMNS, *KERNEL_COLUMNS) and name != query
        ):
            raise ConfigError(
                f"the column name '{name}' is reserved",
                where="slice_by or predictions.columns",
                todo="log the column under another name",
            )


def check_grains(grains: Sequence[Grain], tile: int) -> None:
    """Raise ConfigError if a grain is listed twice or its windows do not consist of whole tiles."""
    names = [grain.name for grain in grains]
    if not names:
        raise ConfigError("`grains` lists no grain", where="grains", expected="one or more of hour, day, cumulative")
    for grain in grains:
        if names.count(grain.name) > 1:
            raise ConfigError("a grain is listed twice", where="grains", found=grain.name)
        for length in (grain.size, grain.every):
            if length is not None and (length.micros == 0 or length.micros % tile):
                raise ConfigError(
                    "a sliding window must be a whole number of tiles",
                    where="grains",
                    expected=f"a multiple of {tile // 60_000_000} minutes",
                    found=length.text,
                )


def check_exported(export: Export, slis: Collection[str], grains: Collection[str]) -> None:
    """Raise ConfigError if a sink is to get an SLI or a grain that the config does not have."""
    for what, names, known in (("SLI", export.prometheus.slis, slis), ("grain", export.prometheus.grains, grains)):
        for name in names or ():
            check_known(f"the config has no {what} '{name}'", name, known, where=f"export.prometheus.{what.lower()}s")
