"""The sections of a config: what may stand under `predictions`, `feedback`, `grains`, `slice_by`, `bins` and `dask`.

Limit: a section knows only its own keys. What must fit together across keys is in `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sli.calendar.duration import Duration

Length = Annotated[
    Duration, BeforeValidator(lambda value: value if isinstance(value, Duration) else Duration.parse(value))
]


class Section(BaseModel):
    """A mapping of the config: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class Predictions(Section):
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


class Feedback(Section):
    """Where feedback is logged and what its columns are called."""

    path: str
    id: str
    time: str
    value: str
    keep: Literal["latest", "first"] = "latest"
    nulls: Literal["withdraw", "ignore"] = "withdraw"
    early: Length = Duration.parse("0s")


class Sliding(Section):
    size: Length
    every: Length = Duration.parse("1d")


class SliceSet(Section):
    """Slice columns; of their slices only the `top` largest of each window, and the rest together."""

    columns: tuple[str, ...]
    top: Annotated[int, Field(ge=1)] | None = None


class Quantiles(Section):
    """Bins of about equal counts in a reference table, a Parquet file such as the training data."""

    quantiles: Annotated[int, Field(ge=2, le=100)]
    table: str


class Workers(Section):
    workers: Annotated[int, Field(ge=1, le=10_000)]


class Scheduler(Section):
    scheduler: str


class Factory(Section):
    """A function of the user's that returns a Dask client, and its keyword arguments."""

    factory: str
    options: Mapping[str, Any] = Field(default_factory=dict)


Cluster = Literal["in-process"] | Workers | Scheduler | Factory
"""Where tasks run."""
SliceSetting = Annotated[
    SliceSet, BeforeValidator(lambda value: {"columns": value} if isinstance(value, list | tuple) else value)
]
GrainName = Literal["hour", "day", "week", "month", "cumulative"]
ClassName = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
"""A class; what YAML reads as true, false or null is refused, since the logs say it otherwise."""
