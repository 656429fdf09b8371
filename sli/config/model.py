"""The config of one model, typed and checked, and the values that follow from it.

A wrong config fails here, before any work. Limit: what depends on the logs' own columns (custom SQL, slice columns)
is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sli.calendar.duration import DAY, FOREVER
from sli.calendar.grain import Grain
from sli.calendar.interval import instant
from sli.calendar.zone import Zone, zone
from sli.config import checks
from sli.config.bins import check_bins, edges_of
from sli.config.entries import Context, parse_slis
from sli.config.export_sections import Export
from sli.config.log_sections import ClassesSetting, Feedback, FeedbackSetting, Predictions, TimeFrom
from sli.config.sections import (
    BinSetting,
    Cluster,
    DurationSetting,
    Factory,
    GrainSetting,
    LengthSetting,
    Scheduler,
    Section,
    SliceSet,
    SliceSetting,
    StoreSetting,
    TimeSetting,
    Workers,
)
from sli.engine.machine import machine_cores, machine_memory
from sli.engine.storage import NO_OPTIONS, Storage
from sli.errors import ConfigError
from sli.masking import keep_secrets
from sli.slices import SliceBy, slice_by_of
from sli.slis import Sli, State, entries
from sli.slis.formula import Unit
from sli.slis.outcomes import Outcomes

FORESEEN = instant(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
"""Until then the tiles of a zone fit its offsets."""
HASHED_SINCE = 4
"""The store format from which on a config has this hash. A newer format does not change the hash."""
HASHED_ALWAYS = ("id", "time", "value", "keep", "scores", "query", "nulls")
"""Keys of a log that were part of the hash then. A later key is part of it only if it is set, so old hashes hold."""
DUPLICATES_WITHIN = 30 * DAY
"""`duplicates_within` where the config does not say it and the horizon is not longer."""
CLUSTER_MEMORY = 1 << 30
"""Bytes of a task on a cluster elsewhere: nearly every worker has that much for each of its threads."""


class Config(Section):
    """One model's job. Paths are absolute or URLs once loaded."""

    model: str
    since: TimeSetting = Field(description="ISO 8601, for example 2013-02-01")
    stored: StoreSetting = Field(alias="store", description="a folder, or an s3:// URL")
    horizon: DurationSetting
    duplicates_within: LengthSetting | None = None
    """How far apart two predictions with one id are still one prediction, logged twice."""
    predictions: Predictions
    feedback: FeedbackSetting
    task: Literal["binary", "multiclass", "regression", "ranking"]
    slis: tuple[object, ...] = Field(description="a list, for example [accuracy]")
    classes: ClassesSetting = Field((), description="a list of names, for example [cat, dog]")
    timezone: str = "UTC"
    threshold: float = Field(0.5, ge=0, le=1, description="a number from 0 to 1")
    level: float = Field(0.95, gt=0, lt=1, description="a number between 0 and 1, for example 0.95")
    slice_by: tuple[SliceSetting, ...] = Field(((),), description="a list of lists, for example [[], [region]]")
    bins: Mapping[str, BinSetting] = Field({}, description="{column: edges}, for example {fare: [10, 20, 50]}")
    min_support: int = Field(0, ge=0, description="a whole number, 0 or more")
    max_conflicts: float = Field(0.01, ge=0, le=1, description="a share from 0 to 1, for example 0.01")
    """A run warns if a larger share of a day's rows is in conflict: superseded by a row with another value."""
    grains: tuple[GrainSetting, ...] = Field(
        ("hour", "day", "cumulative"), description="a list, for example [hour, day, {size: 7d}]"
    )
    dask: Cluster = "in-process"
    storage: Annotated[Storage, BeforeValidator(Storage.from_config)] = NO_OPTIONS
    memory: str | None = Field(
        None, pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$", description="a size, for example 2GB or 512MiB"
    )
    export: Export = Field(default=Export(), description="a mapping from sinks to what they need")
    folder: str = Field(default=".", exclude=True)
    """Where the modules lie that the config names."""
    dask_folder: str = Field(default="", exclude=True)
    """Where the module lies that `dask` names, if elsewhere: beside a base."""
    digest: str = Field(default="", exclude=True)
    """A hash of its tree (see `tree`); empty for a config of no file, and for one that names something elsewhere."""

    @model_validator(mode="after")
    def _check(self) -> Config:
        self.zone, self.since_instant  # noqa: B018 - raises ConfigError
        # Masked in every message from now on.
        keep_secrets(self.dask.scheduler if isinstance(self.dask, Scheduler) else getattr(self.dask, "options", {}))
        checks.check_store(self.stored)
        paths = {name: source.path for name, source in self.sources.items()}
        checks.check_logs({f"{name}.path": path for name, path in paths.items()}, self.dask)
        checks.check_apart(self.store, {f"{name}.path": path for name, path in paths.items()})
        checks.check_classes(self.task, self.class_names)
        checks.check_spellings(self.spellings)
        checks.check_logs_fit(self.task, self.sources)
        checks.check_scores(self.task, self.class_names, self.scores)
        checks.check_query(self.task, self.predictions.query)
        checks.check_duplicates_within(self.duplicates_within, self.horizon, self.feedback_rules)
        self.declared  # noqa: B018 - raises ConfigError
        checks.check_slices(self.slice_sets)
        checks.check_columns(self.columns, self.predictions.query)
        check_bins(self.bins, {name for columns in self.slice_sets for name in columns})
        checks.check_grains(self.all_grains, self.tile)
        checks.check_exported(
            self.export, [sli.name for sli in self.declared], [grain.name for grain in self.all_grains]
        )
        return self

    @property
    def store(self) -> str:
        """The folder or URL of the tables."""
        return self.stored.path

    @functools.cached_property
    def zone(self) -> Zone:
        return zone(self.timezone)

    @functools.cached_property
    def since_instant(self) -> int:
        try:
            since = self.zone.parse(self.since)
        except ValueError as error:
            raise ConfigError(
                "since is not a date or time",
                where="since",
                expected="ISO 8601, for example 2013-02-01",
                found=self.since,
            ) from error
        if since % self.zone.tile(since, FORESEEN):
            raise ConfigError(
                "since must be the start of an hour", where="since", found=self.since, todo="use a date or a whole hour"
            )
        return since

    @functools.cached_property
    def tile(self) -> int:
        """Length of a tile in microseconds."""
        return self.zone.tile(self.since_instant, FORESEEN)

    @functools.cached_property
    def duplicates_apart(self) -> int:
        """How far apart the tiles of two duplicates may begin: microseconds, in whole tiles."""
        return (
            self._usually_apart if self.duplicates_within is None else self._whole_tiles(self.duplicates_within.micros)
        )

    @property
    def _usually_apart(self) -> int:
        """`duplicates_apart` where the config does not say it: so long that no feedback has two predictions."""
        least = max(DUPLICATES_WITHIN, self.horizon.micros + self.feedback_rules.early.micros)
        return self._whole_tiles(FOREVER.micros if self.known_at_once else least)

    def _whole_tiles(self, micros: int) -> int:
        return -(-micros // self.tile) * self.tile

    @functools.cached_property
    def slice_sets(self) -> tuple[SliceBy, ...]:
        return tuple(
            slice_by_of(setting.columns if isinstance(setting, SliceSet) else setting) for setting in self.slice_by
        )

    @functools.cached_property
    def caps(self) -> dict[SliceBy, int]:
        """How many slices of a set have rows of their own, for sets with `top`."""
        return {
            slice_by_of(setting.columns): setting.top
            for setting in self.slice_by
            if isinstance(setting, SliceSet) and setting.top is not None
        }

    @functools.cached_property
    def edges(self) -> dict[str, tuple[float, ...]]:
        """Ascending edges of each slice column that has bins; quantiles are read from their table."""
        return edges_of(self.bins, self.folder, self.storage)

    @functools.cached_property
    def all_grains(self) -> tuple[Grain, ...]:
        return tuple(
            Grain(grain) if isinstance(grain, str) else Grain.sliding(grain.size, grain.every) for grain in self.grains
        )

    @functools.cached_property
    def feedback_logs(self) -> tuple[Feedback, ...]:
        """All feedback logs."""
        return self.feedback if isinstance(self.feedback, tuple) else (self.feedback,)

    @property
    def feedback_rules(self) -> Feedback:
        """A feedback log, for the keys that all of them share: `keep`, `nulls` and `early`."""
        return self.feedback_logs[0]

    @property
    def known_at_once(self) -> bool:
        """Whether feedback has no time and is known as soon as its prediction is."""
        return isinstance(self.feedback_rules.time, TimeFrom) and self.feedback_rules.time.source == "prediction"

    @functools.cached_property
    def sources(self) -> dict[str, Predictions | Feedback]:
        """The sections of all logs, by their place in the config."""
        several = isinstance(self.feedback, tuple)
        names = [f"feedback[{place}]" if several else "feedback" for place in range(len(self.feedback_logs))]
        return {"predictions": self.predictions, **dict(zip(names, self.feedback_logs, strict=True))}

    @property
    def id_columns(self) -> str:
        """The columns of the id of a prediction, for messages."""
        setting = self.predictions.id
        parts = setting if isinstance(setting, tuple) else (setting,)
        return ", ".join(part if isinstance(part, str) else part.column for part in parts)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @functools.cached_property
    def spellings(self) -> tuple[tuple[str, ...], ...]:
        """How the logs may write each class: its name first."""
        if not isinstance(self.classes, Mapping):
            return tuple((name,) for name in self.classes)
        return tuple((name, *(text for text in texts if text != name)) for name, texts in self.classes.items())

    @functools.cached_property
    def scores(self) -> Mapping[str, str]:
        """The name of the column with each class's score."""
        fields = self._score_fields
        listed = isinstance(self.predictions.scores, str)
        return {name: f"score {name}" if listed or "," in field else field for name, field in fields.items()}

    @functools.cached_property
    def _score_fields(self) -> Mapping[str, str]:
        scores, count = self.predictions.scores, len(self.class_names)
        if not isinstance(scores, str):
            return scores
        # A list of another length says nothing of which score is whose.
        return {
            name: f"(CASE WHEN len({scores}) = {count} THEN {scores}[{place}] END)"
            for place, name in enumerate(self.class_names, 1)
        }

    @functools.cached_property
    def fields(self) -> dict[str, str]:
        """Where columns of the predictions log are whose names are not their fields."""
        columns = self.predictions.columns
        mapped = dict(columns) if isinstance(columns, Mapping) else {}
        mapped |= {self.scores[name]: field for name, field in self._score_fields.items()}
        return {name: field for name, field in mapped.items() if name != field}

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the predictions log that slices or SLIs need, besides id, time and value."""
        named = {name for slice_by in self.slice_sets for name in slice_by} | set(self.predictions.columns)
        query = {self.predictions.query} if self.predictions.query else set()
        return tuple(sorted(named | set(self.scores.values()) | query))

    @functools.cached_property
    def declared(self) -> tuple[Sli, ...]:
        """The SLIs in the config's order."""
        return parse_slis(self.slis, self.context)

    @functools.cached_property
    def units(self) -> Mapping[str, Unit]:
        """The unit of each SLI that is built in or declared, by its name."""
        known: dict[str, Unit] = {name: entry.unit for name, entry in entries(self.task).items()}
        return known | {sli.name: sli.unit for sli in self.declared}

    @functools.cached_property
    def context(self) -> Context:
        """The part of the config that the meaning of an SLI depends on, besides its own declaration."""
        return Context(
            task=self.task,
            classes=self.class_names,
            scores=self.scores,
            columns=self.columns,
            folder=self.folder,
            zone=self.zone,
            tile=self.tile,
            storage=self.storage,
        )

    @functools.cached_property
    def states(self) -> dict[str, State]:
        """All states that a tile keeps, by id: those that the SLIs need, and the state of outcomes."""
        states = [state for sli in self.declared for state in sli.formula.states.values()]
        return {state.id: state for state in (*states, self.outcomes.state)}

    @functools.cached_property
    def outcomes(self) -> Outcomes:
        """What every tile keeps of its predictions and their labels, whichever SLIs are declared."""
        return Outcomes(self.task, self.threshold, self.class_names, self.tile)

    @functools.cached_property
    def parallel(self) -> int:
        """Threads that work on this machine: one in each worker process, or all on one task at a time."""
        return self.dask.workers if isinstance(self.dask, Workers) else machine_cores()

    @functools.cached_property
    def task_memory(self) -> int:
        """Bytes one task may use: the config's `memory`, or an equal share of half of the machine's memory.

        On a cluster elsewhere it is `CLUSTER_MEMORY`, since a plan does not know its machines.
        """
        if self.memory is not None:
            size = self.memory.rstrip("iB")
            return int(float(size[:-1]) * 1024 ** " KMGT".index(size[-1]))
        if isinstance(self.dask, Scheduler | Factory):
            return CLUSTER_MEMORY
        shares = 2 * (self.dask.workers if isinstance(self.dask, Workers) else 1)
        return machine_memory() // shares

    @property
    def factory_folder(self) -> str:
        return self.dask_folder or self.folder

    @property
    def shuffle_memory(self) -> int:
        """Bytes a task of a shuffle may use: several of them run at once, in this process too."""
        shared = self.dask == "in-process" and self.memory is None
        return self.task_memory // (self.parallel if shared else 1)

    @functools.cached_property
    def base(self) -> str:
        """Hash of the keys that the tiles depend on. If it changes, every tile is recomputed from the logs."""
        feedback = [{**_hashed_keys(log, "early"), "early": log.early.micros} for log in self.feedback_logs]
        meaning = {
            "format": HASHED_SINCE,
            "timezone": self.timezone,
            "since": self.since_instant,
            "horizon": self.horizon.micros,
            "predictions": _hashed_keys(self.predictions, "columns") | ({"fields": self.fields} if self.fields else {}),
            "feedback": feedback if isinstance(self.feedback, tuple) else feedback[0],
            "task": self.task,
            "classes": self.spellings if isinstance(self.classes, Mapping) else self.classes,
            "threshold": self.threshold,
            "bins": sorted(self.edges.items()),
        }
        if self.duplicates_apart != self._usually_apart:
            meaning["duplicates_within"] = self.duplicates_apart
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]

    def definition(self, sli: Sli) -> str:
        """Hash of what the values of a series mean. If it changes, a new series is rolled up from the stored tiles."""
        caps = sorted((",".join(columns), top) for columns, top in self.caps.items())
        return sli.definition(json.dumps([self.base, self.level, self.min_support, caps]))


def _hashed_keys(log: Predictions | Feedback, excluded: str) -> dict[str, object]:
    """The keys of a log that are part of the hash, without `path` and the excluded one."""
    unset = {
        name
        for name, key in type(log).model_fields.items()
        if name not in HASHED_ALWAYS and getattr(log, name) == key.get_default(call_default_factory=True)
    }
    return log.model_dump(exclude={"path", excluded, *unset})
