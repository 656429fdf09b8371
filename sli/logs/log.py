"""One log as the config describes it: where its id, time, value and columns are, and which of its rows count."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from sli.config.log_sections import Feedback, IdSetting, Predictions, TimeColumn, TimeFrom, TypedId
from sli.config.model import Config
from sli.engine.expression import locked_database, named_columns
from sli.engine.storage import NO_OPTIONS, Storage
from sli.errors import ConfigError
from sli.logs.fields import columns_of, type_of
from sli.logs.files import LogFile


@dataclass(frozen=True)
class IdPart:
    """A column of an id. `as_text`: whole numbers in it are compared as text."""

    field: str
    as_text: bool = False


@dataclass(frozen=True)
class Time:
    """Where the time of a row is. `unit` or `format` says how to read a column that has no timestamps."""

    field: str
    unit: str | None = None
    format: str | None = None


@dataclass(frozen=True, kw_only=True)
class Log:
    """What reading one log needs to know of the config; it is sent to workers. Fields are texts, see `logs.fields`."""

    name: str
    """`predictions` or `feedback`; the second feedback log of several is `feedback 2`."""
    key: str
    """Its place in the config, for messages."""
    zone: str
    """The time zone of local times."""
    id: tuple[IdPart, ...]
    time: Time | None
    """None: the rows have no time of their own."""
    known: int | None = None
    """Without a time: when all rows were known, in microseconds; None: each when its file was written."""
    value: str
    columns: tuple[str, ...] = ()
    """The names of the columns that slices and SLIs use."""
    fields: tuple[tuple[str, str], ...] = ()
    """The field of each column whose name is not its field."""
    where: str | None = None
    spellings: tuple[tuple[str, ...], ...] = ()
    """For a multiclass task: how the log may write each class. A value is read as the position of its class."""
    positive: tuple[bool | int | float | str, ...] = ()
    negative: tuple[bool | int | float | str, ...] = ()
    """Values that are read as 1 and as 0; any other value is set aside."""
    storage: Storage = NO_OPTIONS
    binary: bool = False
    """Whether the task is binary."""
    others: tuple[Log, ...] = ()
    """Further logs, whose rows count as rows of this one."""

    def of(self, name: str) -> Log:
        """This log or one of the others, by its name."""
        return next((log for log in self.others if log.name == name), self)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of a multiclass task."""
        return tuple(texts[0] for texts in self.spellings)

    @property
    def parts(self) -> tuple[Log, ...]:
        """This log and the others."""
        return (self, *self.others)

    @property
    def marks(self) -> tuple[str, ...]:
        """What else of the config the reading of a footer depends on: kept with the types of the fields."""
        time = (
            f"sli:time {self.time.unit} {self.time.format}" if self.time else f"sli:time {self.known or 'of the file'}"
        )
        plain = self.time is not None and self.time.unit is None and self.time.format is None
        as_text = [part.field for part in self.id if part.as_text]
        marks = {
            time: not plain,
            f"sli:where {self.where}": self.where is not None,
            f"sli:labels {self.positive} {self.negative}": self.labels,
            f"sli:ids as text {as_text}": bool(as_text),
        }
        return tuple(mark for mark, present in marks.items() if present)

    @property
    def labels(self) -> bool:
        """Whether the config says which values are positive and which negative."""
        return bool(self.positive or self.negative)

    def field(self, column: str) -> str:
        """The field of a column."""
        return self._fields.get(column, column)

    @functools.cached_property
    def _fields(self) -> dict[str, str]:
        return dict(self.fields)

    def column_types(self, file: LogFile) -> dict[str, str]:
        """The type of each column in a file."""
        return {name: type_of(file.types[self.field(name)]) for name in self.columns}

    @functools.cached_property
    def needed(self) -> tuple[str, ...]:
        """All fields that are read, each once."""
        time = (self.time.field,) if self.time else ()
        ids = (part.field for part in self.id)
        columns = (self.field(column) for column in self.columns)
        return tuple(dict.fromkeys((*ids, *time, self.value, *columns)))

    @functools.cached_property
    def stored(self) -> frozenset[str]:
        """The columns of the files that may have to be read."""
        where = named_columns(self.where) if self.where else frozenset()
        return where.union(*map(columns_of, self.needed))


def predictions_log(config: Config) -> Log:
    """The predictions log, with every column that slices or SLIs use."""
    fields = tuple(config.fields.items())
    return _log(config, "predictions", "predictions", config.predictions, config.columns, fields)


def feedback_log(config: Config) -> Log:
    """The first feedback log, with the others."""
    sources = [(key, source) for key, source in config.sources.items() if isinstance(source, Feedback)]
    first, *others = (
        _log(config, "feedback" if number == 1 else f"feedback {number}", key, source)
        for number, (key, source) in enumerate(sources, 1)
    )
    return replace(first, others=tuple(others))


def logs_of(config: Config) -> tuple[Log, ...]:
    """All logs, each alone: the predictions log, then the feedback logs."""
    return (*predictions_log(config).parts, *feedback_log(config).parts)


def _log(
    config: Config,
    name: str,
    key: str,
    source: Predictions | Feedback,
    columns: tuple[str, ...] = (),
    fields: tuple[tuple[str, str], ...] = (),
) -> Log:
    labels = source.labels
    return Log(
        name=name,
        key=key,
        zone=config.timezone,
        id=_id_parts(source.id),
        time=_time(source),
        known=config.since_instant if config.known_at_once and key != "predictions" else None,
        value=source.value,
        columns=columns,
        fields=fields,
        where=source.where,
        spellings=config.spellings,
        positive=labels.positive if labels else (),
        negative=labels.negative if labels else (),
        storage=config.storage,
        binary=config.task == "binary",
    )


def _id_parts(setting: IdSetting) -> tuple[IdPart, ...]:
    parts = setting if isinstance(setting, tuple) else (setting,)
    return tuple(IdPart(part.column, as_text=True) if isinstance(part, TypedId) else IdPart(part) for part in parts)


def _time(source: Predictions | Feedback) -> Time | None:
    if isinstance(source.time, TimeFrom):
        return None
    if isinstance(source.time, TimeColumn):
        return Time(source.time.column, source.time.unit, source.time.format)
    return Time(source.time)


def check_expressions(log: Log) -> None:
    """Raise ConfigError for an SQL expression of the config that is not one, or that may not run."""
    if log.time is not None and log.time.format is not None:
        _check_format(log.time.format, f"{log.key}.time.format")
    time = [("time", log.time.field)] if log.time else []
    ids = [("id", part.field) for part in log.id]
    columns = [("columns", log.field(name)) for name in log.columns]
    where = [("where", log.where)] if log.where else []
    for key, text in [*where, ("value", log.value), *time, *ids, *columns]:
        if key == "where" or text.startswith("("):
            try:
                named_columns(text)
            except ConfigError as error:
                error.where = f"{log.key}.{key}"
                raise


def _check_format(format: str, where: str) -> None:
    """Raise ConfigError for a format of times that DuckDB does not know."""
    import duckdb

    expected = 'the codes of strptime, for example "%d/%m/%Y %H:%M"'
    try:
        locked_database().cursor().execute("SELECT try_strptime('', ?)", [format])
    except duckdb.Error as error:
        found = f"{format}: {str(error).splitlines()[0][:200]}"
        raise ConfigError("this is not a format of times", where=where, expected=expected, found=found) from error
