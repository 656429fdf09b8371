"""All keys of a config, guessed from two logs; and what to tell the user of it.

Limit: all is guessed from samples; only the time span is taken from the footers of all files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sli.calendar.duration import DAY
from sli.calendar.interval import iso
from sli.calendar.zone import zone
from sli.command.guessing.choose import Guess, Problems
from sli.command.guessing.ids import Ids, choose_ids, divided, joining
from sli.command.guessing.sample import Sample, look
from sli.command.guessing.scores import Scores, choose_scores
from sli.command.guessing.slices import conditions, query_name, slice_names
from sli.command.guessing.tables import Delays, Rows, choose_delays, feedback_time, is_one_table, rows_of
from sli.command.guessing.times import BY_HAND, EXPECTED, Clock, choose_time, clocks
from sli.command.guessing.values import Logs, Values, choose_values
from sli.config.load import checked
from sli.config.model import Config
from sli.errors import InputError
from sli.logs.discovery import discover


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """All that is guessed from the two logs, predictions first."""

    rows: Rows
    ids: Ids
    values: Values
    times: tuple[Guess, Guess]
    scores: Scores | None
    delays: Delays
    query: str
    """A field that may say which predictions were ranked together, or empty."""
    slices: Sequence[str]
    conditions: tuple[Sequence[Guess], Sequence[Guess]]
    since: Guess
    timezone: Guess
    warnings: Sequence[str]

    @property
    def samples(self) -> tuple[Sample, Sample]:
        return self.rows.predictions, self.rows.feedback

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their scores."""
        named = tuple(self.values.classes)
        return self.scores.classes if self.scores and self.scores.sure else named

    @property
    def choices(self) -> Mapping[str, Guess]:
        """The guessed keys at the top level of the config."""
        return {"task": self.values.task, "since": self.since, "timezone": self.timezone}

    def log_keys(self, at: int) -> dict[str, Guess]:
        """The keys of one log besides its path: `at` is 0 for the predictions, 1 for the feedback."""
        field, check = (self.values.output, self.values.label)[at], self.values.checks[at]
        labels = self.values.labels[at]
        keys = {"where": Guess(self.rows.where[at])} if self.rows.where[at] else {}
        keys |= {
            "id": self.ids.guess(self.samples[at].log),
            "time": self.times[at],
            "value": Guess(field.setting, check),
        }
        return keys | ({"labels": Guess(labels.setting, labels.check)} if labels else {})

    @property
    def classes_key(self) -> Guess:
        """The value of `classes`: names, or the spellings of each."""
        doubt = "these were seen; list every class, rows with any other are set aside"
        spellings = {name: list(self.values.classes[name]) for name in self.classes}
        return Guess(spellings if any(spellings.values()) else list(self.classes), doubt)


def guess(predictions: Sequence[str], feedback: Sequence[str], timezone: str) -> Guesses:
    """Look at both logs. Raises InputError, which tells all that is missing, or ConfigError."""
    problems = Problems()
    both = problems.collect(look, "predictions", predictions), problems.collect(look, "feedback", feedback)
    problems.tell()
    assert both[0] is not None
    assert both[1] is not None
    samples = both[0], both[1]
    found = clocks(samples[0]), clocks(samples[1])
    sure = tuple({clock.field.name for clock in each if clock.is_sure} for each in found)
    time = problems.collect(choose_time, samples[0], found[0])
    ids = problems.collect(choose_ids, *samples, sure, is_one_table(samples))
    names = [{f.name for f in fields} for fields in ((ids.predictions, ids.feedback) if ids else ((), ()))]
    taken = (names[0] | sure[0], names[1] | sure[1])
    values = problems.collect(choose_values, Logs(*samples, taken, ids))
    problems.tell()
    assert time is not None
    assert ids is not None
    assert values is not None
    return _guesses(samples, ids, values, time, timezone)


def _guesses(
    samples: tuple[Sample, Sample], ids: Ids, values: Values, time: tuple[Clock, Guess], timezone: str
) -> Guesses:
    """All guesses, once id, values and the time of the predictions are known."""
    rows = rows_of(samples, values.output, values.label)
    predictions, feedback = rows.predictions, rows.feedback
    made = replace(time[0], field=predictions.fields[time[0].field.name])
    known, known_guess = feedback_time(rows, made, clocks(feedback))
    parts = tuple(predictions.fields[field.name] for field in ids.predictions)
    others = tuple(feedback.fields[field.name] for field in ids.feedback)
    ids = joining(divided(replace(ids, predictions=parts, feedback=others), predictions, feedback))
    output = predictions.fields.get(values.output.name, values.output)
    used = {parts[0].name, made.field.name, output.name} | ({values.label.name} if is_one_table(samples) else set())
    used_for_rows = {*used, *(field.name for field in ids.predictions)}
    naive = [clock.field.name for clock in (made, known) if clock is not None and clock.is_naive]
    doubt = f"{' and '.join(dict.fromkeys(naive))} without a zone: is it UTC?" if naive and timezone == "UTC" else ""
    guesses = Guesses(
        rows=rows,
        ids=ids,
        values=values,
        times=(time[1], known_guess),
        scores=choose_scores(predictions, output, list(values.classes)),
        delays=choose_delays(ids, made, known),
        query=query_name(predictions, used_for_rows),
        slices=slice_names(predictions, used),
        conditions=(
            () if rows.where[0] else conditions(predictions, used_for_rows, ids.divider),
            () if rows.where[1] else conditions(feedback, {*(f.name for f in ids.feedback), values.label.name}),
        ),
        since=Guess("2000-01-01"),
        timezone=Guess(timezone, doubt),
        warnings=(),
    )
    return _with_since(guesses, made)


def _with_since(guesses: Guesses, made: Clock) -> Guesses:
    """The local date of the earliest prediction in all footers, and a line for each log with unusable files."""
    timezone = str(guesses.timezone.value)
    inputs = discover(_probe(guesses))
    span = inputs.predictions.span
    bad = inputs.files.take(~inputs.files.usable)
    if span is None:
        raise _no_predictions(guesses, made, [f"{file.path}: {file.explanation}" for file in bad])
    lines = [f"a run would set aside {len(bad):,} files, for example {file.path}: {file.explanation}" for file in bad]
    long = span.end - span.start > 3 * 366 * DAY
    check = f"predictions span {iso(span.start)} to {iso(span.end)}; are the earliest real?" if long else ""
    since = Guess(zone(timezone).date(span.start).isoformat(), check)
    return replace(guesses, since=since, warnings=lines[:1])


def _no_predictions(guesses: Guesses, made: Clock, bad: Sequence[str]) -> InputError:
    """The error if no prediction can be used: there are no rows, the times are null, or files cannot be read so."""
    where, time = ", ".join(guesses.rows.predictions.paths), made.field
    if not len(time.values):
        return InputError("the predictions log holds no rows", where=where, todo="log some predictions first")
    if bad:
        todo = "repair the files, or write the config by hand; see docs/logs.md"
        return InputError("no file of the predictions log can be used", where=where, found=bad[0], todo=todo)
    found = f"{time.name}, which is null in all {len(time.values):,} rows that were looked at"
    todo = (
        f"log the time of each prediction, or name another one in a config written by hand: `time: FIELD`, or {BY_HAND}"
    )
    return InputError("no prediction has a time", where=where, expected=EXPECTED, found=found, todo=todo)


def _probe(guesses: Guesses) -> Config:
    """The config that the guesses make, to look at all files by it."""
    logs = {
        sample.log: {"path": sample.paths, **{key: guess.value for key, guess in guesses.log_keys(at).items()}}
        for at, sample in enumerate(guesses.samples)
    }
    classes = {"classes": guesses.classes_key.value} if guesses.values.classes else {}
    top = {key: guess.value for key, guess in guesses.choices.items()}
    return checked({"model": "", "store": "results", "horizon": "7d", "slis": ("count",), **top, **classes, **logs})
