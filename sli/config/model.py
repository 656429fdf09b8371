"""The config: YAML, typed and closed. A wrong one fails here, before any work, naming key and nearest valid name.

Limit: what depends on the logs' own columns (custom SQL, slice columns) is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sli.calendar.grain import Grain
from sli.calendar.interval import instant
from sli.calendar.zone import Zone, zone
from sli.config import checks
from sli.config.bins import check_bins, edges_of
from sli.config.entries import Context, declared
from sli.config.sections import (
    BinSetting,
    ClassName,
    Cluster,
    DurationSetting,
    Factory,
    Feedback,
    GrainSetting,
    Predictions,
    Scheduler,
    Section,
    SliceSet,
    SliceSetting,
    TimeSetting,
    Workers,
)
from sli.engine.machine import machine_cores, machine_memory
from sli.engine.storage import NOTHING, Storage
from sli.errors import ConfigError
from sli.slices import SliceBy, slice_by_of
from sli.slis import Sli, State

FOREVER = instant(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
HASHED_SINCE = 4
"""The format whose hash of a config still holds: it is no business of the hash what format a store has now."""
HASHED_ALWAYS = ("id", "time", "value", "keep", "scores", "query", "nulls")
"""Keys of a log that the hash held then. One that came later counts where it is set: a new key changes no hash."""
CLUSTER_MEMORY = 1 << 30
"""Bytes of a task on a cluster elsewhere: what nearly every worker has for each of its threads."""


class Config(Section):
    """One model's job. Paths are absolute or URLs once loaded."""

    model: str
    since: TimeSetting = Field(description="ISO 8601, for example 2013-02-01")
    store: str
    horizon: DurationSetting
    predictions: Predictions
    feedback: Feedback
    task: Literal["binary", "multiclass", "regression", "ranking"]
    slis: tuple[Any, ...] = Field(description="a list, for example [accuracy]")
    classes: tuple[ClassName, ...] = Field((), description="a list of names, for example [cat, dog]")
    timezone: str = "UTC"
    threshold: float = Field(0.5, ge=0, le=1, description="a number from 0 to 1")
    level: float = Field(0.95, gt=0, lt=1, description="a number between 0 and 1, for example 0.95")
    slice_by: tuple[SliceSetting, ...] = Field(((),), description="a list of lists, for example [[], [region]]")
    bins: Mapping[str, BinSetting] = Field({}, description="{column: edges}, for example {fare: [10, 20, 50]}")
    min_support: int = Field(0, ge=0, description="a whole number, 0 or more")
    max_conflicts: float = Field(0.01, ge=0, le=1, description="a share from 0 to 1, for example 0.01")
    """Share of a day's rows that may lose to a row of the same id with another value before a run warns."""
    grains: tuple[GrainSetting, ...] = Field(
        ("hour", "day", "cumulative"), description="a list, for example [hour, day, {size: 7d}]"
    )
    dask: Cluster = "in-process"
    storage: Annotated[Storage, BeforeValidator(Storage.of)] = NOTHING
    memory: str | None = Field(
        None, pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$", description="a size, for example 2GB or 512MiB"
    )
    folder: str = Field(default=".", exclude=True)

    @model_validator(mode="after")
    def _check(self) -> Config:
        self.zone, self.since_instant  # noqa: B018 - raises ConfigError
        checks.keep_cluster_secrets(self.dask)
        checks.check_store(self.store)
        checks.check_logs({"predictions.path": self.predictions.path, "feedback.path": self.feedback.path}, self.dask)
        checks.check_classes(self.task, self.classes)
        checks.check_scores(self.task, self.classes, self.predictions.scores)
        checks.check_query(self.task, self.predictions.query)
        self.declared  # noqa: B018 - raises ConfigError
        checks.check_slices(self.slice_sets)
        checks.check_columns(self.columns, self.predictions.query)
        check_bins(self.bins, {name for columns in self.slice_sets for name in columns})
        checks.check_grains(self.all_grains, self.tile)
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
                found=self.since,
            ) from error
        if found % self.zone.tile(found, FOREVER):
            raise ConfigError(
                "since must begin an hour", where="since", found=self.since, todo="use a date or a whole hour"
            )
        return found

    @functools.cached_property
    def tile(self) -> int:
        """Length of a tile in microseconds."""
        return self.zone.tile(self.since_instant, FOREVER)

    @functools.cached_property
    def slice_sets(self) -> tuple[SliceBy, ...]:
        return tuple(
            slice_by_of(setting.columns if isinstance(setting, SliceSet) else setting) for setting in self.slice_by
        )

    @functools.cached_property
    def caps(self) -> dict[SliceBy, int]:
        """How many slices of a set are told apart, where that is limited."""
        return {
            slice_by_of(setting.columns): setting.top
            for setting in self.slice_by
            if isinstance(setting, SliceSet) and setting.top is not None
        }

    @functools.cached_property
    def edges(self) -> dict[str, tuple[float, ...]]:
        """Ascending edges of the binned slice columns; those of quantiles are read from their table."""
        return edges_of(self.bins, self.folder, self.storage)

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
        return machine_cores()

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


def _meaning(log: Predictions | Feedback, beside: str) -> dict[str, Any]:
    """What of a log's keys the tiles rest on, but for `path` and one told apart."""
    later = {
        name
        for name, key in type(log).model_fields.items()
        if name not in HASHED_ALWAYS and getattr(log, name) == key.get_default(call_default_factory=True)
    }
    return log.model_dump(exclude={"path", beside, *later})
