"""The sections of a config but those of the logs: the keys of `store`, `grains`, `slice_by`, `bins` and `dask`.

The description of a field appears in messages as what is expected. Limit: a section checks only its own keys; `checks`
checks what must fit together across sections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.fields import FieldInfo

from sli.calendar.duration import FOREVER, Duration


class Section(BaseModel):
    """A mapping of the config: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    @classmethod
    def config_keys(cls) -> tuple[str, ...]:
        """The keys as a config writes them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items() if not field.exclude)

    @classmethod
    def field_of(cls, key: str) -> FieldInfo | None:
        """The field of a key as a config writes it."""
        return next((field for name, field in cls.model_fields.items() if key == (field.alias or name)), None)


DurationSetting = Annotated[
    Duration, BeforeValidator(lambda value: value if isinstance(value, Duration) else Duration.parse(value))
]


def _duration_or_forever(value: object) -> Duration:
    if isinstance(value, Duration) or value == FOREVER.text:
        return value if isinstance(value, Duration) else FOREVER
    try:
        return Duration.parse(str(value))
    except ValueError as error:
        raise ValueError(f"{error}; forever is possible, too") from error


LengthSetting = Annotated[Duration, BeforeValidator(_duration_or_forever)]
"""A duration, or `forever`."""
TimeSetting = Annotated[str, BeforeValidator(lambda value: value.isoformat() if isinstance(value, date) else value)]
"""A date or time in ISO 8601, which YAML mostly reads as a date or time already."""
GrainName = Literal["hour", "day", "week", "month", "cumulative"]
ClassName = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]
"""The name of a class. Values that YAML reads as true, false or null are refused: the logs spell them differently."""


class StoreSection(Section):
    """Where the tables are, and how long what was replaced in them stays."""

    path: str = Field(description="a folder, or an s3:// URL")
    keep_files: DurationSetting = Duration.parse("7d")
    """How long the files stay of a publication that another one replaced."""
    history: LengthSetting = FOREVER
    """How far back what was known at any time can be read."""


StoreSetting = Annotated[
    StoreSection,
    BeforeValidator(lambda value: value if isinstance(value, Mapping | StoreSection) else {"path": value}),
]


class Sliding(Section):
    """Windows of one size, a new one every so often."""

    size: DurationSetting
    every: DurationSetting = Duration.parse("1d")


class SliceSet(Section):
    """Columns whose values make slices. With `top`, the smaller slices of a window count as one."""

    columns: tuple[str, ...] = Field(description="a list of columns, for example [region]")
    top: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number, 1 or more")


class Quantiles(Section):
    """Bins of about equal counts in a reference table, a Parquet file, for example the training data."""

    quantiles: int = Field(ge=2, le=100, description="a whole number from 2 to 100")
    table: str


class Workers(Section):
    """A cluster of `workers` processes on this machine."""

    workers: int = Field(ge=1, le=10_000, description="a whole number from 1 to 10000")


class Scheduler(Section):
    """A running cluster, by the address of its scheduler."""

    scheduler: str = Field(description="an address, for example tcp://host:8786")


class Factory(Section):
    """A user's function that returns a Dask client, and its keyword arguments."""

    factory: str = Field(description="module:function, for example my_cluster:client")
    options: Mapping[str, object] = Field({}, description="keyword arguments, for example {workers: 20}")


def is_sql(value: object) -> bool:
    """Whether a value is `{sql: EXPRESSION}`."""
    return isinstance(value, Mapping) and set(value) == {"sql"} and isinstance(value["sql"], str)


def tag_of(plain: str, *sections: type[Section]) -> Callable[[object], str]:
    """For a value that may be one of these sections or a plain value: a function that returns the tag to read it by.

    A mapping is read as the section that has most of its keys, so a message is about what the user probably meant.
    """

    def tag(value: object) -> str:
        if isinstance(value, Section):
            return f"<{type(value).__name__}>"
        if not isinstance(value, Mapping) or is_sql(value):
            return plain
        return f"<{max(sections, key=lambda section: len({*section.config_keys()} & value.keys())).__name__}>"

    return tag


CLUSTERS = (Workers, Scheduler, Factory)
Cluster = Annotated[
    Annotated[Literal["in-process"], Tag("<cluster>")]
    | Annotated[Workers, Tag("<Workers>")]
    | Annotated[Scheduler, Tag("<Scheduler>")]
    | Annotated[Factory, Tag("<Factory>")],
    Discriminator(tag_of("<cluster>", *CLUSTERS)),
]
"""Where tasks run."""
GrainSetting = Annotated[
    Annotated[GrainName, Tag("<grain>")] | Annotated[Sliding, Tag("<Sliding>")],
    Discriminator(tag_of("<grain>", Sliding)),
]
SliceSetting = Annotated[
    Annotated[tuple[str, ...], Tag("<columns>")] | Annotated[SliceSet, Tag("<SliceSet>")],
    Discriminator(tag_of("<columns>", SliceSet)),
]
BinSetting = Annotated[
    Annotated[tuple[float, ...], Tag("<edges>")] | Annotated[Quantiles, Tag("<Quantiles>")],
    Discriminator(tag_of("<edges>", Quantiles)),
]
