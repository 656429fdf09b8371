"""The config: YAML, typed and closed. A wrong one fails here, before any work, naming key and nearest valid name.

Limit: what depends on the logs' own columns (custom SQL, slice columns) is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sli.calendar.grain import Grain
from sli.calendar.interval import Duration, Zone, instant, zone
from sli.config.entries import Context, declared, located
from sli.engine.storage import NOTHING, Storage, check_no_credentials, filesystem
from sli.errors import ConfigError, nearest
from sli.masking import keep_secrets
from sli.slices import SliceBy, quoted, slice_by_of
from sli.slis import Sli, State
from sli.slis.formula import PAIR_COLUMNS

Length = Annotated[
    Duration, BeforeValidator(lambda value: value if isinstance(value, Duration) else Duration.parse(value))
]
FOREVER = instant(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
HASHED_SINCE = 4
"""The format whose hash of a config still holds: it is no business of the hash what format a store has now."""
HASHED_ALWAYS = ("id", "time", "value", "keep", "scores", "query", "nulls")
"""Keys of a log that the hash held then. One that came later counts where it is set: a new key changes no hash."""
CLUSTER_MEMORY = 1 << 30
"""Bytes of a task on a cluster elsewhere: what nearly every worker has for each of its threads."""
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux tells how much memory a container may use, by either version of its control groups."""
UNREACHABLE = "#%?[\\]^|"
"""Characters in a path at which the table library fails, or finds no history of what it wrote."""
KERNEL_COLUMNS = ("id", "t", "k", "k2", "value", "tile", "cell", "filename", "f_t", "f_value", "truth", "predictions")
"""Names that mean something else inside a task."""


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class Predictions(Closed):
    """Where predictions are logged and what their columns are called."""

    path: str
    id: str
    time: str
    value: str
    keep: Literal["first", "latest"] = "first"
    columns: tuple[str, ...] = ()
    scores: Mapping[str, str] = Field(default_factory=dict)
    """Multiclass: the column of each class's probability."""
    query: str | None = None
    """Ranking: the column that says which predictions were ranked together."""


class Feedback(Closed):
    """Where feedback is logged and what its columns are called."""

    path: str
    id: str
    time: str
    value: str
    keep: Literal["latest", "first"] = "latest"
    nulls: Literal["withdraw", "ignore"] = "withdraw"
    early: Length = Duration.parse("0s")


class Sliding(Closed):
    size: Length
    every: Length = Duration.parse("1d")


class SliceSet(Closed):
    """Slice columns; of their slices only the `top` largest of each window, and the rest together."""

    columns: tuple[str, ...]
    top: Annotated[int, Field(ge=1)] | None = None


class Quantiles(Closed):
    """Bins of about equal counts in a reference table, a Parquet file such as the training data."""

    quantiles: Annotated[int, Field(ge=2, le=100)]
    table: str


class Workers(Closed):
    workers: Annotated[int, Field(ge=1, le=10_000)]


class Scheduler(Closed):
    scheduler: str


class Factory(Closed):
    """A function of the user's that returns a Dask client, and its keyword arguments."""

    factory: str
    options: Mapping[str, Any] = Field(default_factory=dict)


SliceSetting = Annotated[
    SliceSet, BeforeValidator(lambda value: {"columns": value} if isinstance(value, list | tuple) else value)
]
Named = Literal["hour", "day", "week", "month", "cumulative"]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
"""A class; what YAML reads as true, false or null is refused, since the logs say it otherwise."""


class Config(Closed):
    """One model's job. Paths are absolute or URLs once loaded."""

    model: str
    since: str | datetime | date
    store: str
    horizon: Length
    predictions: Predictions
    feedback: Feedback
    task: Literal["binary", "multiclass", "regression", "ranking"]
    slis: tuple[Any, ...]
    classes: tuple[Name, ...] = ()
    timezone: str = "UTC"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    slice_by: tuple[SliceSetting, ...] = (SliceSet(columns=()),)
    bins: Mapping[str, tuple[float, ...] | Quantiles] = Field(default_factory=dict)
    min_support: Annotated[int, Field(ge=0)] = 0
    max_conflicts: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of a day's rows that may lose to a row of the same id with another value before a run warns."""
    grains: tuple[Named | Sliding, ...] = ("hour", "day", "cumulative")
    dask: Literal["in-process"] | Workers | Scheduler | Factory = "in-process"
    storage: Annotated[Storage, BeforeValidator(Storage.of)] = NOTHING
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")] | None = None
    folder: str = Field(default=".", exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for check in (
            lambda: self.zone,
            lambda: self.since_instant,
            self._check_places,
            self._check_task,
            lambda: self.declared,
            self._check_slices,
            self._check_bins,
            self._check_grains,
        ):
            check()
        return self

    @functools.cached_property
    def zone(self) -> Zone:
        return zone(self.timezone)

    @functools.cached_property
    def since_instant(self) -> int:
        try:
            found = self.zone.parse(self.since)
        except ValueError as error:
            raise ConfigError(
                "since is no date or time",
                where="since",
                expected="ISO 8601, such as 2013-02-01",
                found=str(self.since),
            ) from error
        if found % self.zone.tile(found, FOREVER):
            raise ConfigError(
                "since must begin an hour", where="since", found=str(self.since), todo="use a date or a whole hour"
            )
        return found

    @functools.cached_property
    def tile(self) -> int:
        """Length of a tile in microseconds."""
        return self.zone.tile(self.since_instant, FOREVER)

    @functools.cached_property
    def slice_sets(self) -> tuple[SliceBy, ...]:
        return tuple(slice_by_of(each.columns) for each in self.slice_by)

    @functools.cached_property
    def caps(self) -> dict[SliceBy, int]:
        """How many slices of a set are told apart, where that is limited."""
        return {slice_by_of(each.columns): each.top for each in self.slice_by if each.top is not None}

    @functools.cached_property
    def edges(self) -> dict[str, tuple[float, ...]]:
        """Ascending edges of the binned slice columns; those of quantiles are read from their table."""
        return {
            name: each if isinstance(each, tuple) else _quantile_edges(name, each, self.folder, self.storage)
            for name, each in self.bins.items()
        }

    @functools.cached_property
    def all_grains(self) -> tuple[Grain, ...]:
        return tuple(
            Grain(each) if isinstance(each, str) else Grain.sliding(each.size, each.every) for each in self.grains
        )

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the predictions log that slices or SLIs ask for, beside id, time and value."""
        named = {name for each in self.slice_sets for name in each} | set(self.predictions.columns)
        query = {self.predictions.query} if self.predictions.query else set()
        return tuple(sorted(named | set(self.predictions.scores.values()) | query))

    @functools.cached_property
    def declared(self) -> tuple[Sli, ...]:
        """The SLIs in the config's order."""
        return declared(self.slis, self.context)

    @functools.cached_property
    def context(self) -> Context:
        """What an SLI's meaning rests on, beside its own declaration."""
        return Context(
            self.task,
            self.classes,
            self.predictions.scores,
            self.columns,
            self.folder,
            self.zone,
            self.tile,
            self.storage,
        )

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """All states the SLIs need, each once."""
        return {state.id: state for each in self.declared for state in each.formula.states.values()}

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each state."""
        return {id: state.kind for id, state in self.states.items()}

    @functools.cached_property
    def parallel(self) -> int:
        """How many threads work on this machine: one each of its worker processes, or all on one task at a time."""
        if isinstance(self.dask, Workers):
            return self.dask.workers
        # Fewer than the machine has where the process is pinned; not every system can tell.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @functools.cached_property
    def task_memory(self) -> int:
        """Bytes one task may use: the config's `memory`, or half of the machine's, in equal shares for its workers.

        On a cluster elsewhere, whose machines are not known when a plan is made, `CLUSTER_MEMORY`.
        """
        if self.memory is not None:
            number, unit = re.fullmatch(r"([\d.]+)\s*([KMGT])i?B", self.memory).groups()  # type: ignore[union-attr]
            return int(float(number) * 1024 ** (" KMGT".index(unit)))
        if isinstance(self.dask, Scheduler | Factory):
            return CLUSTER_MEMORY
        shares = 2 * (self.dask.workers if isinstance(self.dask, Workers) else 1)
        return machine_memory() // shares

    @property
    def shuffle_memory(self) -> int:
        """Bytes a task of a shuffle may use. In this process, too, several of these run at once."""
        shared = self.dask == "in-process" and self.memory is None
        return self.task_memory // (self.parallel if shared else 1)

    @functools.cached_property
    def base(self) -> str:
        """Hash of what the tiles rest on: change it and everything is computed anew from the logs."""
        meaning = {
            "format": HASHED_SINCE,
            "timezone": self.timezone,
            "since": self.since_instant,
            "horizon": self.horizon.micros,
            "predictions": _meaning(self.predictions, "columns"),
            "feedback": {**_meaning(self.feedback, "early"), "early": self.feedback.early.micros},
            "task": self.task,
            "classes": self.classes,
            "threshold": self.threshold,
            "bins": sorted(self.edges.items()),
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]

    def definition(self, sli: Sli) -> str:
        """Hash of a series: change what its values mean and it is a new one, rolled up from the tiles there are."""
        caps = sorted((",".join(columns), top) for columns, top in self.caps.items())
        return sli.definition(json.dumps([self.base, self.level, self.min_support, caps]))

    def _check_places(self) -> None:
        kind = self.store.partition("://")[0] if "://" in self.store else "file"
        if kind not in ("file", "s3", "s3a"):
            raise ConfigError(
                "the store cannot lie there", where="store", expected="a folder, or an s3:// URL", found=f"{kind}://"
            )
        if strange := sorted(set(self.store) & set(UNREACHABLE)):
            raise ConfigError(
                "the table library cannot keep tables at a path with such characters",
                where="store",
                expected=f"a path without any of {' '.join(UNREACHABLE)}",
                found=f"{' '.join(strange)} in {self.store}",
            )
        keep_secrets(self.dask.scheduler if isinstance(self.dask, Scheduler) else getattr(self.dask, "options", {}))
        check_no_credentials(self.store, "store")
        for name, path in (("predictions", self.predictions.path), ("feedback", self.feedback.path)):
            check_no_credentials(path, f"{name}.path")
            if path.startswith("memory://") and self.dask != "in-process":
                raise ConfigError(
                    "other processes cannot read the memory of this one",
                    where=f"{name}.path",
                    found=path,
                    todo="set `dask: in-process`, or log to a folder or an s3:// URL",
                )

    def _check_task(self) -> None:
        classes, predictions = self.classes, self.predictions
        if (self.task == "multiclass") != bool(classes):
            raise ConfigError(
                "a multiclass task needs its classes" if not classes else f"a {self.task} task has no classes",
                where="classes",
                expected="" if classes else "the names of all classes, such as [cat, dog]",
                found=", ".join(classes),
                todo="remove them, or write `task: multiclass`" if classes else "list them",
            )
        if classes and len(set(classes)) != len(classes):
            twice = sorted({each for each in classes if classes.count(each) > 1})
            raise ConfigError(
                "a class is listed twice", where="classes", found=", ".join(twice), todo="list each class once"
            )
        if len(classes) == 1:
            raise ConfigError(
                "`classes` needs at least two classes", where="classes", expected="two or more", found=classes[0]
            )
        if predictions.scores and not classes:
            raise ConfigError(
                f"a {self.task} task has no scores of classes",
                where="predictions.scores",
                todo="remove them, or write `task: multiclass` and its classes",
            )
        for name in predictions.scores:
            if name not in classes:
                raise ConfigError(
                    f"'{name}' is none of the classes",
                    where="predictions.scores",
                    expected=", ".join(classes),
                    todo=nearest(name, classes),
                )
        if (self.task == "ranking") != (predictions.query is not None):
            needs = self.task == "ranking"
            raise ConfigError(
                "a ranking needs the column that groups the predictions of a query"
                if needs
                else "only a ranking has queries",
                where="predictions.query",
                expected="such as `query: session_id`" if needs else "",
                found=predictions.query or "",
                todo="name the column" if needs else "remove it, or write `task: ranking`",
            )

    def _check_bins(self) -> None:
        sliced = {name for each in self.slice_sets for name in each}
        for name, each in self.bins.items():
            where = f"bins.{name}"
            if name not in sliced:
                raise ConfigError(
                    f"no slice is made by '{name}'",
                    where=where,
                    expected=f"one of {', '.join(sorted(sliced))}" if sliced else "a column of slice_by",
                    todo=nearest(name, sliced) or f"list it, as in `slice_by: [[], [{name}]]`",
                )
            if isinstance(each, tuple) and (
                not each or list(each) != sorted(set(each)) or not all(map(isfinite, each))
            ):
                raise ConfigError(
                    "edges must ascend", where=where, expected="such as [10, 20, 50]", found=str(list(each))
                )
            if isinstance(each, tuple) and len({f"{edge:g}" for edge in each}) != len(each):
                raise ConfigError(
                    "edges are too close", where=where, expected="six digits that differ", found=str(each)
                )

    def _check_slices(self) -> None:
        if not self.slice_by:
            raise ConfigError("no slice is listed", where="slice_by", expected="[[]] for all predictions together")
        for each in self.slice_sets:
            if len(set(each)) != len(each):
                raise ConfigError("a slice names a column twice", where="slice_by", found=str(list(each)))
            if self.slice_sets.count(each) > 1:
                raise ConfigError("a slice is listed twice", where="slice_by", found=str(list(each)))
        for name in self.columns:
            if "," in name:
                raise ConfigError(
                    f"the column '{name}' has a comma in its name",
                    where="slice_by or predictions.columns",
                    todo="log the column under another name",
                )
            if re.fullmatch(r"slice_\d+|own_\d+", name) or (
                name.lower() in (*PAIR_COLUMNS, *KERNEL_COLUMNS) and name != self.predictions.query
            ):
                raise ConfigError(
                    f"'{name}' is a name of sli's own",
                    where="slice_by or predictions.columns",
                    todo="log the column under another name",
                )

    def _check_grains(self) -> None:
        names = [each.name for each in self.all_grains]
        if not names:
            raise ConfigError("no grain is listed", where="grains", expected="one or more of hour, day, cumulative")
        for each in self.all_grains:
            if names.count(each.name) > 1:
                raise ConfigError("a grain is listed twice", where="grains", found=each.name)
            for length in (each.size, each.every):
                if length is not None and (length.micros == 0 or length.micros % self.tile):
                    raise ConfigError(
                        "a sliding window must be made of whole tiles",
                        where="grains",
                        expected=f"a multiple of {self.tile // 60_000_000} minutes",
                        found=length.text,
                    )


def _meaning(log: Predictions | Feedback, beside: str) -> dict[str, Any]:
    """What of a log's keys the tiles rest on, but for `path` and one told apart."""
    later = {
        name
        for name, key in type(log).model_fields.items()
        if name not in HASHED_ALWAYS and getattr(log, name) == key.get_default(call_default_factory=True)
    }
    return log.model_dump(exclude={"path", beside, *later})


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container around this process."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or a limit of "max"
            found.append(int(Path(path).read_text()))
    return min(found)


def _quantile_edges(name: str, wanted: Quantiles, folder: str, storage: Storage) -> tuple[float, ...]:
    """Inner quantiles of a column of a reference table, each once. Raises ConfigError."""
    import duckdb
    import pyarrow.parquet as pq

    fs, place = filesystem(located(wanted.table, folder), storage)
    try:
        with fs.open(place, "rb") as opened:
            rows = pq.read_table(opened, columns=[name], partitioning=None)  # noqa: F841 - DuckDB finds it by name
        shares = [i / wanted.quantiles for i in range(1, wanted.quantiles)]
        sql = f"SELECT quantile_disc({quoted(name)}::DOUBLE, {shares}::DOUBLE[]) FROM rows"
        found = duckdb.connect().execute(sql).fetchall()
    except Exception as error:
        raise ConfigError(
            "the edges of bins cannot be read",
            where=f"bins.{name}",
            expected=f"a Parquet file with a numeric column '{name}'",
            found=f"{place}: {str(error).splitlines()[0]}",
            todo="check its path and columns",
        ) from error
    if not found[0][0]:
        raise ConfigError(
            "the table of quantiles holds no value", where=f"bins.{name}", expected=f"numbers in '{name}'", found=place
        )
    edges: tuple[float, ...] = tuple(sorted({float(f"{each:.6g}") for each in found[0][0]}))
    return edges
