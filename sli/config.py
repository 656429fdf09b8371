"""The config: YAML, typed and closed. A wrong one fails here, before any work, naming key and nearest valid name.

Limit: what depends on the logs' own columns (custom SQL, slice columns) is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sli import schemas
from sli.errors import ConfigError, nearest
from sli.intervals import Duration, Zone, instant, zone
from sli.slices import SliceBy, slice_by_of
from sli.slis import CATALOGUE, Sli, State
from sli.slis.base import Objective
from sli.slis.custom import from_python, from_sql, load
from sli.windows import Grain

Length = Annotated[
    Duration, BeforeValidator(lambda value: value if isinstance(value, Duration) else Duration.parse(value))
]
FOREVER = instant(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
KERNEL_COLUMNS = ("id", "t", "k", "k2", "value", "tile", "cell", "filename", "f_t", "f_value", "predictions")
"""Names that mean something else inside a task."""
PAIR_COLUMNS = ("label", "prediction", "decision", "labelled", "usable", "delay", "predicted_at", "known_at")


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Predictions(Closed):
    """Where predictions are logged and what their columns are called."""

    path: str
    id: str
    time: str
    value: str
    keep: Literal["first", "latest"] = "first"
    columns: tuple[str, ...] = ()


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
    every: Length


class Workers(Closed):
    workers: Annotated[int, Field(ge=1, le=10_000)]


class Scheduler(Closed):
    scheduler: str


class Config(Closed):
    """One model's job. Paths are absolute or URLs once loaded."""

    model: str
    since: str | datetime | date
    store: str
    horizon: Length
    predictions: Predictions
    feedback: Feedback
    task: Literal["binary", "regression"]
    slis: tuple[Any, ...]
    timezone: str = "UTC"
    threshold: float = 0.5
    slice_by: tuple[tuple[str, ...], ...] = ((),)
    grains: tuple[Literal["hour", "day", "cumulative"] | Sliding, ...] = ("hour", "day", "cumulative")
    dask: Literal["in-process"] | Workers | Scheduler = "in-process"
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")] | None = None
    folder: str = Field(default=".", exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for check in (
            lambda: self.zone,
            lambda: self.since_instant,
            lambda: self.declared,
            self._check_slices,
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
        return tuple(slice_by_of(each) for each in self.slice_by)

    @functools.cached_property
    def all_grains(self) -> tuple[Grain, ...]:
        return tuple(
            Grain(each) if isinstance(each, str) else Grain.sliding(each.size, each.every) for each in self.grains
        )

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the predictions log that slices or SLIs ask for, beside id, time and value."""
        named = {name for each in self.slice_sets for name in each} | set(self.predictions.columns)
        return tuple(sorted(named))

    @functools.cached_property
    def declared(self) -> tuple[Sli, ...]:
        """The SLIs in the config's order."""
        made = tuple(_declared(entry, i, self) for i, entry in enumerate(self.slis))
        names = [each.name for each in made]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two SLIs are called '{name}'", where="slis", todo="give one of them another `name`")
        if not made:
            raise ConfigError(
                "no SLI is declared", where="slis", expected=f"one or more of {', '.join(sorted(CATALOGUE))}"
            )
        return made

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """All states the SLIs need, each once."""
        return {state.id: state for each in self.declared for state in each.formula.states.values()}

    @functools.cached_property
    def parallel(self) -> int:
        """How many tasks run at once."""
        if isinstance(self.dask, Workers):
            return self.dask.workers
        if isinstance(self.dask, Scheduler):
            return 1
        # Fewer than the machine has where the process is pinned; not every system can tell.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @functools.cached_property
    def task_memory(self) -> int:
        """Bytes one task may use: the config's `memory`, or an equal share of half the machine's."""
        if self.memory is not None:
            number, unit = re.fullmatch(r"([\d.]+)\s*([KMGT])i?B", self.memory).groups()  # type: ignore[union-attr]
            return int(float(number) * 1024 ** (" KMGT".index(unit)))
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (2 * self.parallel)

    @functools.cached_property
    def base(self) -> str:
        """Hash of what every SLI's meaning rests on: change it and every series is a new one."""
        meaning = {
            "format": schemas.FORMAT,
            "timezone": self.timezone,
            "since": self.since_instant,
            "horizon": self.horizon.micros,
            "predictions": self.predictions.model_dump(exclude={"path", "columns"}),
            "feedback": {**self.feedback.model_dump(exclude={"path", "early"}), "early": self.feedback.early.micros},
            "task": self.task,
            "threshold": self.threshold,
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]

    def _check_slices(self) -> None:
        if not self.slice_by:
            raise ConfigError("no slice is listed", where="slice_by", expected="[[]] for all predictions together")
        for each in self.slice_sets:
            if self.slice_sets.count(each) > 1:
                raise ConfigError("a slice is listed twice", where="slice_by", found=str(list(each)))
        for name in self.columns:
            if name.lower() in (*PAIR_COLUMNS, *KERNEL_COLUMNS):
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


def _declared(entry: Any, position: int, config: Config) -> Sli:
    where = f"slis[{position}]"
    try:
        if isinstance(entry, str):
            return _built_in({"sli": entry}, config)
        if not isinstance(entry, Mapping):
            raise ConfigError("an SLI is a name or a mapping", found=repr(entry))
        if "sli" in entry:
            return _built_in(dict(entry), config)
        kind = next((k for k in ("states", "python") if k in entry), None)
        if kind is None:
            raise ConfigError(
                "this is no SLI",
                expected="a name, `sli: NAME`, or `name` with `states` and `value` or with `python`",
                found=str(dict(entry)),
            )
        return _custom(dict(entry), kind, config)
    except ConfigError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise


def _objective(entry: dict[str, Any]) -> Objective | None:
    text = entry.pop("objective", None)
    try:
        return None if text is None else Objective(str(text))
    except ValueError as error:
        raise ConfigError(str(error), where="objective") from error


def _built_in(entry: dict[str, Any], config: Config) -> Sli:
    objective = _objective(entry)
    kind = entry.pop("sli")
    name = entry.pop("name", kind)
    valid = [each for each, found in CATALOGUE.items() if config.task in found.tasks]
    if kind not in valid:
        other = f"it is for a {CATALOGUE[kind].tasks[0]} task" if kind in CATALOGUE else nearest(str(kind), valid)
        raise ConfigError(
            f"there is no SLI '{kind}' for a {config.task} task",
            expected=f"one of {', '.join(sorted(valid))}",
            todo=other,
        )
    known = CATALOGUE[kind]
    _closed(entry, known.parameters, kind)
    needed = [
        p.name
        for p in inspect.signature(known.make).parameters.values()
        if p.default is p.empty and p.name not in entry
    ]
    if needed:
        raise ConfigError(f"'{kind}' needs {', '.join(needed)}", todo=f"write {{sli: {kind}, {needed[0]}: ...}}")
    column = entry.get("of", "prediction")
    if column != "prediction" and column not in config.columns:
        raise ConfigError(
            f"'{column}' is no declared column",
            where="of",
            expected=f"one of {', '.join(['prediction', *config.columns])}",
            todo=nearest(str(column), config.columns) or "list it under predictions.columns",
        )
    return Sli(str(name), known.make(**entry), {"sli": kind, "version": known.version, **entry}, objective)


def _custom(entry: dict[str, Any], kind: str, config: Config) -> Sli:
    objective = _objective(entry)
    _closed(entry, ("name", "states", "value") if kind == "states" else ("name", "python", "of"), "a custom SLI")
    missing = [key for key in ("name", "value" if kind == "states" else "python") if key not in entry]
    if missing:
        raise ConfigError(f"a custom SLI needs {', '.join(missing)}")
    if kind == "states":
        if not isinstance(entry["states"], Mapping):
            raise ConfigError(
                "states must map names to aggregates",
                where="states",
                expected='{loss: "sum(...)"}',
                found=str(entry["states"]),
            )
        return Sli(str(entry["name"]), from_sql(entry["states"], str(entry["value"])), entry, objective)
    of = entry.get("of", "decision" if config.task == "binary" else "prediction")
    if of not in ("decision", "prediction"):
        raise ConfigError(
            "`of` says what the function gets as y_pred", where="of", expected="decision or prediction", found=str(of)
        )
    function = load(str(entry["python"]), Path(config.folder))
    formula = from_python(str(entry["python"]), function, of)
    fingerprint = formula.states["window"].source
    return Sli(str(entry["name"]), formula, {**entry, "of": of, "source": fingerprint}, objective)


def _closed(entry: Mapping[str, Any], valid: Sequence[str], what: str) -> None:
    for key in entry:
        if key not in valid:
            expected = f"one of {', '.join(valid)}" if valid else "no parameter"
            raise ConfigError(
                f"{what} has no key '{key}'", where=str(key), expected=expected, todo=nearest(str(key), valid)
            )
