"""The sections `predictions` and `feedback`: where a log is, which of its rows count, and where their values are.

A FIELD is a text: a column, a field of a nested column, or SQL. Limit: whether the log has it is seen when the log is
discovered (`logs.fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, Tag

from sli.calendar.duration import Duration
from sli.config.sections import ClassName, DurationSetting, Section, is_sql, tag_of


def _field(value: object) -> object:
    """The text of a FIELD: `{sql: EXPRESSION}` becomes `(EXPRESSION)`, which no column is named."""
    return f"({value['sql']})" if isinstance(value, Mapping) and is_sql(value) else value


FieldText = Annotated[str, BeforeValidator(_field)]
"""Where a value of a row is: a column, a field of a nested column, or SQL. `logs.fields` reads it."""
A_FIELD = "a column, a field like output.score, or {sql: EXPRESSION}"
LabelValue = StrictBool | StrictInt | StrictFloat | StrictStr
ColumnsSetting = Annotated[
    Annotated[tuple[FieldText, ...], Tag("<column names>")] | Annotated[Mapping[str, FieldText], Tag("<fields>")],
    Discriminator(lambda value: "<fields>" if isinstance(value, Mapping) else "<column names>"),
]
ScoresSetting = Annotated[
    Annotated[FieldText, Tag("<list of scores>")] | Annotated[Mapping[str, FieldText], Tag("<class scores>")],
    Discriminator(lambda value: "<list of scores>" if isinstance(value, str) or is_sql(value) else "<class scores>"),
]
ClassesSetting = Annotated[
    Annotated[tuple[ClassName, ...], Tag("<class names>")]
    | Annotated[Mapping[str, tuple[ClassName, ...]], Tag("<classes>")],
    Discriminator(lambda value: "<classes>" if isinstance(value, Mapping) else "<class names>"),
]
"""The classes by name, or with the spellings that logs use for each."""


class TypedId(Section):
    """A column of ids that are compared as text, since one log has numbers and the other texts."""

    column: FieldText = Field(description=A_FIELD)
    type: Literal["text"]


class TimeColumn(Section):
    """A column of times that are not timestamps: how to read its numbers or its texts."""

    column: FieldText = Field(description=A_FIELD)
    unit: Literal["s", "ms", "us", "ns"] | None = None
    """Numbers: this much time since 1970-01-01T00:00:00Z."""
    format: str | None = Field(None, description='a format of strptime, for example "%d/%m/%Y %H:%M"')
    """Texts: their format. Without it they are ISO 8601."""


class TimeFrom(Section):
    """Feedback without a time of its own: known when its file was written, or as soon as its prediction is."""

    source: Literal["file", "prediction"] = Field(alias="from")


class Labels(Section):
    """Which values of the column `value` mean the positive class, and which the negative one."""

    positive: tuple[LabelValue, ...] = Field(description='a list of values, for example [fraud, "yes"]')
    negative: tuple[LabelValue, ...] = Field(description='a list of values, for example [ok, "no"]')


IdPart = Annotated[
    Annotated[FieldText, Tag("<field>")] | Annotated[TypedId, Tag("<TypedId>")],
    Discriminator(tag_of("<field>", TypedId)),
]
IdSetting = Annotated[
    Annotated[FieldText, Tag("<id>")]
    | Annotated[TypedId, Tag("<TypedId>")]
    | Annotated[tuple[IdPart, ...], Tag("<parts>")],
    Discriminator(lambda value: "<parts>" if isinstance(value, list | tuple) else tag_of("<id>", TypedId)(value)),
]
"""The id of a row: one column, or several columns that together are the id."""
LogTime = Annotated[
    Annotated[FieldText, Tag("<field>")]
    | Annotated[TimeColumn, Tag("<TimeColumn>")]
    | Annotated[TimeFrom, Tag("<TimeFrom>")],
    Discriminator(tag_of("<field>", TimeColumn, TimeFrom)),
]


Paths = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class Source(Section):
    """What both logs have: paths, which rows count, and where id, time and value are."""

    path: Paths = Field(
        min_length=1, description="a path or URL, or a list of these, for example [logs/2025, logs/2026-*]"
    )
    """Each is a file, a folder, a pattern or a table."""
    where: str | None = Field(None, description="an SQL condition, for example \"environment = 'prod'\"")
    """Only rows for which this is true exist."""
    id: IdSetting = Field(description="a column, or a list of columns")
    time: LogTime = Field(description="a column, or {column: event_ms, unit: ms}")
    value: FieldText = Field(description=A_FIELD)
    labels: Labels | None = Field(None, description='for example {positive: [fraud, "yes"], negative: [ok, "no"]}')


class Predictions(Source):
    """The predictions log: its path and where its columns are."""

    keep: Literal["first", "latest"] = "first"
    columns: ColumnsSetting = Field(
        (), description="a list of columns, for example [region], or {region: FIELD} for fields of other columns"
    )
    scores: ScoresSetting = Field({}, description="{class: column}, for example {cat: p_cat, dog: p_dog}")
    """Multiclass: the column of each class's probability, or one column with the list of them."""
    query: FieldText | None = None
    """Ranking: the column that says which predictions were ranked together."""


class Feedback(Source):
    """The feedback log: its path and where its columns are."""

    keep: Literal["latest", "first"] = "latest"
    nulls: Literal["withdraw", "ignore"] = "withdraw"
    early: DurationSetting = Duration.parse("0s")


FeedbackSetting = Annotated[
    Annotated[Feedback, Tag("<Feedback>")] | Annotated[tuple[Feedback, ...], Tag("<logs>")],
    Discriminator(lambda value: "<logs>" if isinstance(value, list | tuple) else "<Feedback>"),
]
"""The feedback log, or several of them."""
