"""Times: of which field, epochs and their unit by where the values lie, text times and their format.

Limit: an epoch is only seen between 2000 and 2100, and of the formats only those of `FORMATS`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sli.command.guessing.choose import Guess, Names, best, no_candidate, words
from sli.command.guessing.fields import Field
from sli.command.guessing.sample import Sample

EXPECTED = "a timestamp, a date, an ISO 8601 text or an epoch number"
BY_HAND = '`time: {column: FIELD, format: "%d/%m/%Y %H:%M"}` for texts of another form'
TIMES = {
    "predictions": Names(
        "time",
        words(
            "predicted_at prediction_time prediction_ts prediction_timestamp inference_time scored_at served_at "
            "logged_at timestamp ts time event_time event_timestamp created_at datetime"
        ),
        "predict|score|infer|serve",
        "when the prediction was made",
        EXPECTED,
        BY_HAND,
    ),
    "feedback": Names(
        "time",
        words(
            "known_at feedback_at feedback_time feedback_ts feedback_timestamp labelled_at labeled_at label_time "
            "label_ts observed_at received_at outcome_at logged_at updated_at timestamp ts time event_time "
            "event_timestamp created_at datetime"
        ),
        "feedback|label|known|outcome|actual|observe|answer",
        "when the true value became known",
        EXPECTED,
        BY_HAND,
    ),
}
CLOCK_WORDS = re.compile(
    r"(^|_)(time|times|timestamp|ts|at|date|day|epoch|when|ms|us|ns|millis|micros|dt|datetime)(_|$)"
)
"""Words in the name of a time. Other numbers may look like an epoch by chance."""
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST, LAST = 946_684_800, 4_102_444_800
"""The years 2000 and 2100 in seconds since 1970."""
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.]\d+)?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?)?")
DATES = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d/%m/%y"),
    *("%Y-%m-%d", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y"),
)
CLOCKS = ("", "%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S.%f", "%H%M%S", "%H%M")
OTHERS = (
    *("%Y-%m-%d %H:%M:%S,%f", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y"),
    *("%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Z %Y", "%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M %Z"),
)
"""The formats of Python's logging, of web servers, of mails and of `ctime`; then those with the name of a zone."""
FORMATS = OTHERS + tuple(
    f"{date}{between}{clock}"
    for date in DATES
    for clock in CLOCKS
    for between in ((" ", "T", ":", "") if clock else ("",))
)
DIGITS = re.compile(r"(\d.*?){5}")
"""What every text of a time has."""
LOOKED = 500
"""How many different texts are parsed."""


@dataclass(frozen=True)
class Clock:
    """A field as a time."""

    field: Field
    unit: str = ""
    format: str = ""
    other: str = ""
    """Another format that fits as well."""

    @property
    def setting(self) -> object:
        """What the config says."""
        if self.unit:
            return {"column": self.field.text, "unit": self.unit}
        if self.format:
            return {"column": self.field.text, "format": self.format}
        return self.field.text

    @property
    def check(self) -> str:
        return f"does the day come first? {self.other} fits as well" if self.other else ""

    @property
    def is_naive(self) -> bool:
        """Whether it has no zone of its own."""
        if pa.types.is_timestamp(self.field.kind):
            return self.field.kind.tz is None
        if self.format:
            return "%z" not in self.format.lower()
        if self.field.is_text:
            return not any(re.search(r"(Z|UTC|[+-]\d\d(:?\d\d)?)$", t[10:]) for t in _looked(self.field))
        return False

    @property
    def is_sure(self) -> bool:
        """Whether it is a time for certain: by its type, its texts, or its name."""
        return not self.unit or bool(CLOCK_WORDS.search(self.field.leaf) or self.field.leaf.endswith("time"))

    @functools.cached_property
    def instants(self) -> pd.Series[Any]:
        """Each row's time, UTC; times without a zone are read as UTC."""
        values = pd.Series(self.field.python, dtype=object)
        if self.unit:
            micros = pd.to_numeric(values).astype(float) * (1_000_000 / UNITS[self.unit])
            return pd.to_datetime(micros.round(), unit="us", utc=True, errors="coerce")
        form = self.format or ("ISO8601" if self.field.is_text else None)
        return pd.to_datetime(values, utc=True, errors="coerce", format=form)


def clocks(sample: Sample) -> list[Clock]:
    """The fields of a log that may be times. Epochs that do not sound like one are among them: see `is_sure`."""
    found = (clock_of(field) for field in sample.fields.values() if not field.hive)
    return [clock for clock in found if clock is not None]


def clock_of(field: Field) -> Clock | None:
    """A field as a time, or None if it is none.

    >>> import pyarrow as pa
    >>> from sli.command.guessing.fields import Field
    >>> clock_of(Field("event_ms", pa.array([1709251200000, 1709254800000]))).setting
    {'column': 'event_ms', 'unit': 'ms'}
    >>> clock_of(Field("day", pa.array(["31/12/2024 10:30"]))).setting
    {'column': 'day', 'format': '%d/%m/%Y %H:%M'}
    """
    if pa.types.is_timestamp(field.kind) or pa.types.is_date(field.kind):
        return Clock(field)
    if not len(field.known):
        return None
    if field.is_whole or field.is_floating:
        unit = _unit(field)
        return Clock(field, unit=unit) if unit else None
    if not field.is_text:
        return None
    texts = _looked(field)
    if all(ISO.fullmatch(text) for text in texts):
        return Clock(field)
    return _with_format(field, texts) if all(DIGITS.search(text) for text in texts) else None


def _looked(field: Field) -> list[str]:
    return list(field.counts)[:LOOKED]


def _unit(field: Field) -> str:
    """The unit in which all values lie between 2000 and 2100, or empty."""
    values = np.asarray(field.known.to_numpy(zero_copy_only=False), float)
    fits = [unit for unit, each in UNITS.items() if (values >= FIRST * each).all() and (values < LAST * each).all()]
    return fits[0] if fits else ""


def _with_format(field: Field, texts: Sequence[str]) -> Clock | None:
    """A time by the formats that fit all texts; of several the one whose times lie closest together."""
    fitting = [form for form in FORMATS if fits(form, texts)]
    if not fitting:
        return None
    spans = {form: _span(form, texts) for form in fitting}
    chosen = min(fitting, key=lambda form: (spans[form], fitting.index(form)))
    others = [form for form in fitting if form != chosen and _times(form, texts) != _times(chosen, texts)]
    return Clock(field, format=chosen, other=others[0] if others else "")


def fits(form: str, texts: Sequence[str]) -> bool:
    """Whether all texts are times of a format, in this century."""
    if not all(map(_shape(form).fullmatch, texts)):
        return False
    try:
        times = _times(form, texts)
    except ValueError:
        return False
    return all(2000 <= time.year < 2100 for time in times)


PARTS = {"%Y": r"\d{4}", "%f": r"\d{1,6}", **dict.fromkeys(["%d", "%m", "%y", "%H", "%I", "%M", "%S"], r" ?\d{1,2}")}
"""Regular expressions of what Python reads for a directive, or of more."""


@functools.cache
def _shape(form: str) -> re.Pattern[str]:
    """What every text of a format looks like. Few texts look like most formats, and Python takes long to try one."""
    parts = re.findall(r"%.|\s+|[^%\s]+", form)
    names = ((part, PARTS.get(part, ".{0,40}?")) for part in parts)
    return re.compile(
        "".join(r"\s*" if p.isspace() else of if p[0] == "%" else re.escape(p) for p, of in names), re.S | re.I
    )


def _times(form: str, texts: Sequence[str]) -> list[datetime]:
    return [datetime.strptime(text, form) for text in texts]


def _span(form: str, texts: Sequence[str]) -> float:
    times = _times(form, texts)
    return (max(times) - min(times)).total_seconds()


def choose_time(sample: Sample, candidates: Sequence[Clock]) -> tuple[Clock, Guess]:
    """The time of a log. Raises InputError."""
    names = TIMES[sample.log]
    if not candidates:
        raise no_candidate(sample, names)
    candidates = [clock for clock in candidates if len(clock.field.known)] or candidates
    sure = [clock for clock in candidates if clock.is_sure]
    field, check = best(sample, [clock.field for clock in sure or candidates], names)
    clock = next(clock for clock in candidates if clock.field is field)
    doubt = "" if clock.is_sure else f"{field.name} looks like an epoch in {clock.unit}: is it {names.meaning}?"
    if len(field.values) and not len(field.known):
        doubt = f"{field.name} is null in all rows that were looked at, and rows without a time are set aside"
    return clock, Guess(clock.setting, "; ".join(filter(None, [clock.check, check, doubt])))
