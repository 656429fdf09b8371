"""When a label became known: by a time of the feedback, by the row of the prediction, or not said at all.

Limit: a file that was copied says when it was copied; this is seen only if that was long after its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow.compute as pc

from sli.command.guessing.choose import Guess
from sli.command.guessing.fields import Field
from sli.command.guessing.ids import Ids
from sli.command.guessing.sample import Sample
from sli.command.guessing.times import Clock, choose_time

HORIZONS = (7, 14, 30, 60, 90, 180, 365, 730)
"""The horizons in days that are offered."""
UNSAID = "no column says when a label became known, so it counts as known"


@dataclass(frozen=True)
class Rows:
    """The rows of each log, if both are one table, and the conditions that choose them; else all rows."""

    predictions: Sample
    feedback: Sample
    where: tuple[str, str] = ("", "")
    joined: bool = False
    """Whether labels are in the rows of their predictions."""


def rows_of(samples: tuple[Sample, Sample], output: Field, label: Field) -> Rows:
    """The rows of a table that are predictions and those that are feedback, by which of the two values they have."""
    predictions, feedback = samples
    if not is_one_table(samples):
        return Rows(predictions, feedback)
    given, known = output.values.is_valid(), label.values.is_valid()
    joined = any(pc.and_(given, known).to_pylist())
    conditions = [
        f"{field.sql} IS NOT NULL" if len(field.known) < len(field.values) else "" for field in (output, label)
    ]
    where = (conditions[0], conditions[1])
    return Rows(predictions.only(given), feedback.only(known), where, joined=joined)


def is_one_table(samples: tuple[Sample, Sample]) -> bool:
    """Whether both paths are the same."""
    one, other = ([path.rstrip("/") for path in sample.paths] for sample in samples)
    return one == other


def feedback_time(rows: Rows, made: Clock, clocks: Sequence[Clock]) -> tuple[Clock | None, Guess]:
    """When labels became known: the time of the feedback, or what stands for it. Raises InputError."""
    if rows.joined:
        clocks = [clock for clock in clocks if clock.field.name != made.field.name and _is_later(clock, made, rows)]
    sure = [clock for clock in clocks if clock.is_sure]
    if sure:
        return choose_time(rows.feedback, sure)
    days = _days_after(rows.feedback, made)
    if days > HORIZONS[0]:
        written = f"if labels became known when their files were written, {days:.0f} days after the first predictions"
        check = f"{UNSAID} with its prediction; write {{from: file}} {written}"
        return None, Guess({"from": "prediction"}, check)
    check = f"{UNSAID} when its file was written: a file that is written again makes all its labels later"
    return None, Guess({"from": "file"}, check)


def _days_after(feedback: Sample, made: Clock) -> float:
    """How many days after the first predictions the newest file of feedback was written; 0 if unknown."""
    first = made.instants.min()
    if not feedback.written or pd.isna(first):
        return 0.0
    return float((pd.Timestamp(feedback.written, unit="us", tz="UTC") - first) / pd.Timedelta(days=1))


def _is_later(clock: Clock, made: Clock, rows: Rows) -> bool:
    """Whether nearly all rows with a label have this time, and it is not before that of the prediction."""
    names = rows.feedback.fields
    one, other = (Clock(names[c.field.name], unit=c.unit, format=c.format).instants for c in (clock, made))
    return len(one) > 0 and bool((one >= other).mean() >= 0.95)


@dataclass(frozen=True)
class Delays:
    """The horizon, and how long before its prediction feedback may be known, from what was seen."""

    horizon: Guess
    early: Guess | None = None


def choose_delays(ids: Ids, made: Clock, known: Clock | None) -> Delays:
    """How long after its prediction feedback comes, by the ids that both samples have."""
    asked = "how long after its prediction may feedback arrive?"
    shortest = Guess(f"{HORIZONS[0]}d", asked)
    if known is None:
        return Delays(shortest)
    times, later = made.instants.set_axis(pd.Index(ids.keys(0))), known.instants.set_axis(pd.Index(ids.keys(1)))
    times, later = (each[each.index.notna() & ~each.index.duplicated()] for each in (times, later))
    both = times.index.intersection(later.index)
    delays = (later[both] - times[both]).dropna()
    if delays.empty:
        return Delays(shortest)
    return Delays(_horizon(delays, asked), _early(delays))


def _horizon(delays: pd.Series[pd.Timedelta], asked: str) -> Guess:
    late = float((delays / pd.Timedelta(days=1)).quantile(0.98))
    days = next((days for days in HORIZONS if late <= days), HORIZONS[-1])
    if days == HORIZONS[0]:
        return Guess(f"{days}d", asked)
    return Guess(f"{days}d", f"{asked} 1 in 50 labels that were seen came after {late:.0f} days or more")


def _early(delays: pd.Series[pd.Timedelta]) -> Guess | None:
    """Feedback with dates for times seems to be known before its prediction."""
    share = float((delays < pd.Timedelta(0)).mean())
    if share <= 0.01:
        return None
    days = max(1, int(-(delays.min() // pd.Timedelta(days=1))))
    return Guess(
        f"{days}d",
        f"{share:.0%} of the labels seen are known before their prediction: are times dates, or of another zone?",
    )
