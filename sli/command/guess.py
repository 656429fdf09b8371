"""What two logs look like: columns, task, classes and slices, guessed from the Parquet files themselves.

Limit: names and types come from the first readable file of each log and some of its rows; only the time span is
taken from the footers of all files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import DAY
from sli.calendar.interval import iso
from sli.calendar.zone import zone
from sli.command.sample import (
    Sample,
    distinct_count,
    distinct_values,
    is_naive,
    is_number,
    is_share,
    is_text,
    is_unique,
    look,
)
from sli.config.load import checked
from sli.errors import InputError
from sli.logs.discovery import discover
from sli.slis.formula import PAIR_COLUMNS

FEW = 20
"""Text columns with at most this many values are offered as slices; whole numbers with as few may be classes."""
MANY = 100
"""A text column with more values than this does not hold classes."""

IDS = ("output_id", "prediction_id", "inference_id", "request_id", "uuid", "id", "event_id", "key")
TIMES = {
    "predictions": (
        "predicted_at prediction_time prediction_ts prediction_timestamp inference_time scored_at served_at "
        "logged_at timestamp ts time event_time event_timestamp created_at datetime"
    ),
    "feedback": (
        "known_at feedback_at feedback_time feedback_ts feedback_timestamp labelled_at labeled_at label_time label_ts "
        "observed_at received_at outcome_at logged_at updated_at timestamp ts time event_time created_at datetime"
    ),
}
VALUES = {
    "predictions": (
        "score prediction probability proba prob predicted y_score y_prob y_pred y_hat yhat pred output value "
        "predicted_class predicted_label class label"
    ),
    "feedback": "label target actual y_true truth ground_truth outcome feedback y observed value true_class class",
}
EXPECTED = "a number or boolean column, or a column of classes (text or integers) in both logs"
STEMS = {"predictions": "score|pred|prob|class", "feedback": "label|target|actual|true|truth|outcome|class"}
MEANINGS = {"predictions": "the model's output", "feedback": "the true value"}
SCORES = ("p_{}", "prob_{}", "proba_{}", "probability_{}", "score_{}", "{}_score", "{}_prob", "{}_proba", "{}")
"""How columns with the probabilities of the classes are named."""
QUERY = re.compile(r"(.*_)?(query|session|request|search)_?(id|uuid|guid|key|hash)?")
PARTITION = re.compile(r"(date|day|dt|ds|hour|hr|month|year|week|time|ts|y|m|d|h)")


@dataclass(frozen=True)
class Guess:
    """A value for a key and, where it is doubtful, what to check."""

    value: str
    check: str = ""


@dataclass(frozen=True)
class Columns:
    """The guessed columns of one log."""

    id: Guess
    time: Guess
    value: Guess


@dataclass(frozen=True)
class Guesses:
    """All that is guessed from the two logs, predictions first."""

    samples: tuple[Sample, Sample]
    columns: tuple[Columns, Columns]
    task: Guess
    classes: tuple[str, ...]
    scores: Mapping[str, str]
    """The column of each class's probability, if every class has one."""
    query: str
    """A column that may say which predictions were ranked together, or empty."""
    slices: Sequence[str]
    since: Guess
    timezone: Guess
    warnings: Sequence[str]

    @property
    def whole(self) -> bool:
        """Whether the classes are whole numbers."""
        return all(re.fullmatch(r"-?\d+", name) for name in self.classes)

    @property
    def choices(self) -> Mapping[str, Guess]:
        """The guessed keys at the top level of the config."""
        doubt = "these were seen; list every class, rows with any other are set aside" if self.classes else ""
        classes = {"classes": Guess(", ".join(self.classes), doubt)} if self.classes else {}
        return {"task": self.task, **classes, "since": self.since, "timezone": self.timezone}


def guess(predictions: str, feedback: str, timezone: str) -> Guesses:
    """Look at both logs. Raises InputError or ConfigError."""
    samples = look("predictions", predictions), look("feedback", feedback)
    ids, times = _ids(*samples), tuple(map(_time, samples))
    taken = [{id.value, time.value} for id, time in zip(ids, times, strict=True)]
    *values, classes = _values(samples, taken, (ids[0].value, ids[1].value))
    columns = Columns(ids[0], times[0], values[0]), Columns(ids[1], times[1], values[1])
    task = _task(samples, columns, classes)
    since, warnings = _since(samples, columns, task.value, classes, timezone)
    naive = [c.time.value for sample, c in zip(samples, columns, strict=True) if is_naive(sample.types[c.time.value])]
    doubt = f"{' and '.join(dict.fromkeys(naive))} without a zone: is it UTC?" if naive and timezone == "UTC" else ""
    scores, query = _scores(samples[0], classes), _query(samples[0], columns[0])
    slices = _slices(samples[0], columns[0])
    zoned = Guess(timezone, doubt)
    return Guesses(samples, columns, task, classes, scores, query, slices, since, zoned, warnings)


def _ids(predictions: Sample, feedback: Sample) -> tuple[Guess, Guess]:
    """The id of each log: a known name or one that sounds like an id, preferably of a column that both logs have."""
    common = [n for n in predictions.types if n in feedback.types and _can_be_id(predictions, n)]
    common = [n for n in sorted(common, key=_id_rank) if _can_be_id(feedback, n)]
    unique = [n for n in common if is_unique(predictions, n)]
    # A number without duplicates may be anything; a text without duplicates is almost always an id.
    candidates = [n for n in unique if _id_rank(n) <= len(IDS) or is_text(predictions.types[n])]
    candidates += [n for n in common if n.lower() in IDS]
    if candidates:
        best = candidates[0]
        sure = best.lower() in IDS and best in unique
        return (Guess(best, "" if sure else "the id that joins both logs"),) * 2
    return tuple(_lone_id(sample) for sample in (predictions, feedback))  # type: ignore[return-value]


def _lone_id(sample: Sample) -> Guess:
    possible = [name for name in sample.types if _can_be_id(sample, name)]
    named = [name for name in sorted(possible, key=_id_rank) if _id_rank(name) <= len(IDS)]
    named = [name for name in named if is_unique(sample, name)] or named
    best = named or [name for name in possible if is_unique(sample, name)][:1]
    if not best:
        raise _no_candidate(sample, "id", "a text or integer column that is unique for each prediction")
    return Guess(best[0], "the id that joins both logs; the other log calls it otherwise")


def _id_rank(name: str) -> int:
    """Known names first, in their order; then names that end like an id; then the others."""
    lower = name.lower()
    sounds = re.search(r"(^|_)(id|uuid|guid|key)$", lower) or re.search(r"[a-z]I[dD]$", name)
    return IDS.index(lower) if lower in IDS else len(IDS) + (0 if sounds else 1)


def _can_be_id(sample: Sample, name: str) -> bool:
    kind = sample.types[name]
    return name not in sample.hive and (is_text(kind) or bool(pa.types.is_integer(kind)))


def _time(sample: Sample) -> Guess:
    times = [name for name, kind in sample.types.items() if pa.types.is_timestamp(kind) or pa.types.is_date(kind)]
    stem = "predict|score|infer|serve" if sample.log == "predictions" else "feedback|label|known|outcome|actual|observe"
    what = "when the prediction was made" if sample.log == "predictions" else "when the true value became known"
    return _best(sample, "time", times, TIMES[sample.log].split(), stem, what, "a timestamp or date column")


def _values(
    samples: tuple[Sample, Sample], taken: Sequence[Collection[str]], ids: tuple[str, str]
) -> tuple[Guess, Guess, tuple[str, ...]]:
    """The value column of each log; and the classes, if the columns hold classes that occur in both logs."""
    predictions, feedback = samples
    known = [
        {name: seen for name in sample.types if name not in t and (seen := _classes(sample, name))}
        for sample, t in zip(samples, taken, strict=True)
    ]
    agreeing = {
        truth: [name for name, seen in known[0].items() if _agree(samples, (name, seen), (truth, labels))]
        for truth, labels in known[1].items()
    }
    numbers = [
        sorted(
            (name for name, kind in sample.types.items() if is_number(kind) and name not in t),
            key=lambda name, s=sample: not _likely(s, name),  # type: ignore[misc]
        )
        for sample, t in zip(samples, taken, strict=True)
    ]
    agreeing = {
        truth: [name for name in outputs if name != truth or not _copies(samples, ids, name, truth)]
        for truth, outputs in agreeing.items()
    }
    texts = [name for name, outputs in agreeing.items() if outputs and name not in numbers[1]]
    label = _best_value(feedback, [*numbers[1], *texts])
    copies = [name for name in known[0].keys() | {*numbers[0]} if _copies(samples, ids, name, label.value)]
    outputs = agreeing.get(label.value)
    if not outputs:
        return _score(predictions, numbers[0], copies, label), label, ()
    output = _score(predictions, outputs, copies, label)
    seen = known[0][output.value] | known[1][label.value]
    whole = all(re.fullmatch(r"-?\d+", name) for name in seen)
    return output, label, tuple(sorted(seen, key=int if whole else str))


def _copies(samples: tuple[Sample, Sample], ids: tuple[str, str], output: str, label: str) -> bool:
    """Whether a column of the predictions equals the label for every id, for example if both logs are one table."""
    if not all(name in sample.rows.schema.names for sample, name in zip(samples, (output, label), strict=True)):
        return False
    (keys, values), (known_keys, labels) = (
        (sample.rows.column(id).to_pylist(), sample.rows.column(name).to_pylist())
        for sample, id, name in zip(samples, ids, (output, label), strict=True)
    )
    known = {key: label for key, label in zip(known_keys, labels, strict=True) if label is not None}
    pairs = [(value, known[key]) for key, value in zip(keys, values, strict=True) if value is not None and key in known]
    return bool(pairs) and all(one == other for one, other in pairs)


def _score(sample: Sample, candidates: Sequence[str], copies: Sequence[str], label: Guess) -> Guess:
    """The best column that is not a copy of the label; the copies are named. Raises InputError.

    If there are only copies, one with another name than the label may be a prediction that is always right.
    """
    other = [name for name in candidates if name not in copies] or [n for n in candidates if n != label.value]
    note = f"not {' or '.join(sorted(copies))}, equal to the label {label.value} of the feedback for every id"
    try:
        best = _best_value(sample, other)
    except InputError as error:
        error.found += f"; {note}" * bool(copies)
        raise
    if not copies:
        return best
    if best.value in copies:
        note = f"equal to the label {label.value} of the feedback for every id: is it the prediction?"
    return Guess(best.value, f"{best.check}; {note}" if best.check else note)


def _likely(sample: Sample, name: str) -> bool:
    """Whether a numeric column has the type that most predictions (or labels) have."""
    kind = sample.types[name]
    return bool(pa.types.is_floating(kind) if sample.log == "predictions" else pa.types.is_boolean(kind))


def _classes(sample: Sample, name: str) -> set[str]:
    """The values of a column, as text, if they may be classes; else none."""
    kind = sample.types[name]
    if name in sample.hive or not (is_text(kind) or pa.types.is_integer(kind)):
        return set()
    values = {str(value) for value in distinct_values(sample.rows.column(name)).to_pylist() if value is not None}
    return values if len(values) <= (MANY if is_text(kind) else FEW) else set()


def _agree(samples: Sequence[Sample], output: tuple[str, set[str]], label: tuple[str, set[str]]) -> bool:
    """Whether two columns hold the same classes. Numbers must be named like a prediction and not be 0 and 1 only."""
    common, seen = output[1] & label[1], output[1] | label[1]
    if 2 * len(common) < min(len(output[1]), len(label[1])) or len(seen) < 2 or len(seen) > MANY:
        return False
    if is_text(samples[0].types[output[0]]) and is_text(samples[1].types[label[0]]):
        return True
    named = output[0].lower() in VALUES["predictions"].split() or "pred" in output[0].lower()
    return named and 2 < len(seen) <= FEW and not label[1] <= {"0", "1"}


def _best_value(sample: Sample, candidates: Sequence[str]) -> Guess:
    log = sample.log
    return _best(sample, "value", candidates, VALUES[log].split(), STEMS[log], MEANINGS[log], EXPECTED)


def _best(
    sample: Sample, key: str, candidates: Sequence[str], known: Sequence[str], stem: str, what: str, expected: str
) -> Guess:
    """A known name or the only candidate, without doubt; else a name that sounds right or the first, to check."""
    if not candidates:
        raise _no_candidate(sample, key, expected)
    named = sorted((name for name in candidates if name.lower() in known), key=lambda name: known.index(name.lower()))
    sounding = [name for name in candidates if re.search(stem, name.lower())]
    best = [*named, *sounding, *candidates][0]
    others = [name for name in candidates if name != best]
    if named or not others:
        return Guess(best)
    return Guess(best, f"{what}; it could also be {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}")


def _no_candidate(sample: Sample, key: str, expected: str) -> InputError:
    return InputError(
        f"no column of the {sample.log} log can be its {key}",
        where=sample.file,
        expected=expected,
        found=", ".join(f"{name} ({kind})" for name, kind in sample.types.items()) or "no columns",
        todo=f"log one, or write the config by hand with `{sample.log}.{key}`",
    )


def _task(samples: Sequence[Sample], columns: Sequence[Columns], classes: Collection[str]) -> Guess:
    """Binary where labels are booleans or only 0 and 1, multiclass where the logs have classes in common."""
    label, score = columns[1].value.value, columns[0].value.value
    if classes:
        amounts = not is_text(samples[1].types[label]) and not is_text(samples[0].types[score])
        doubt = f"{label} and {score} are few whole numbers; if they are amounts, this is a regression"
        return Guess("multiclass", doubt if amounts else "")
    kind = samples[1].types[label]
    inside = is_share(samples[0], score)
    if pa.types.is_boolean(kind):
        return Guess("binary", "" if inside else f"{label} is a boolean, but {score} is not always in 0..1")
    seen = {float(value) for value in pc.unique(samples[1].rows.column(label)).to_pylist() if value is not None}
    if seen and seen <= {0.0, 1.0}:
        return Guess("binary", "" if inside else f"{label} is 0 or 1, but {score} is not always in 0..1")
    if not seen:
        return Guess("binary" if inside else "regression", f"no value of {label} was seen")
    few = pa.types.is_integer(kind) and len(seen) <= FEW
    doubt = f"{label} has only {len(seen)} values; if they are classes, {score} must be the predicted one"
    return Guess("regression", doubt if few else "")


def _scores(sample: Sample, classes: Sequence[str]) -> Mapping[str, str]:
    """The columns named after the classes, if exactly one pattern of `SCORES` gives each class its own column."""
    columns: dict[str, list[str]] = {}
    for name, kind in sample.types.items():
        if pa.types.is_floating(kind) and name not in sample.hive and is_share(sample, name):
            columns.setdefault(name.lower(), []).append(name)
    ways = []
    for pattern in SCORES:
        wanted = [pattern.format(re.sub(r"\W+", "_", name.lower())) for name in classes]
        if len(set(wanted)) == len(wanted) and all(len(columns.get(column, ())) == 1 for column in wanted):
            ways.append({name: columns[column][0] for name, column in zip(classes, wanted, strict=True)})
    return ways[0] if len(ways) == 1 and classes else {}


def _query(sample: Sample, columns: Columns) -> str:
    """A column named like the id of a query, with values that several predictions share; or empty."""
    for name, kind in sample.types.items():
        if name in {columns.id.value, columns.value.value, *sample.hive} or not QUERY.fullmatch(name.lower()):
            continue
        values = distinct_count(sample.rows.column(name)) if is_text(kind) or pa.types.is_integer(kind) else 0
        if 1 < values < len(sample.rows):
            return name
    return ""


def _since(
    samples: Sequence[Sample], columns: Sequence[Columns], task: str, classes: Sequence[str], timezone: str
) -> tuple[Guess, list[str]]:
    """The local date of the earliest prediction in all footers, and a line for each log with unusable files."""
    sources = {
        sample.log: {"path": sample.path, "id": c.id.value, "time": c.time.value, "value": c.value.value}
        for sample, c in zip(samples, columns, strict=True)
    }
    probe = checked(
        {"model": "", "since": "2020-01-01", "store": "", "horizon": "7d", "timezone": timezone, "task": task}
        | {"slis": ("count",), "classes": classes, **sources}
    )
    inputs = discover(probe)
    span = inputs.predictions.span
    if span is None:
        raise InputError("the predictions log holds no rows", where=samples[0].path, todo="log some predictions first")
    bad = inputs.files.take(~inputs.files.usable)
    lines = [f"a run would set aside {len(bad):,} files, for example {file.path}: {file.explanation}" for file in bad][
        :1
    ]
    long = span.end - span.start > 3 * 366 * DAY
    check = f"predictions span {iso(span.start)} to {iso(span.end)}; are the earliest real?" if long else ""
    return Guess(zone(timezone).date(span.start).isoformat(), check), lines


def _slices(sample: Sample, columns: Columns) -> list[str]:
    """Text columns of few values, but not those that only partition the log by time."""
    names = []
    for name, kind in sample.types.items():
        if not is_text(kind) or name in {*PAIR_COLUMNS, columns.id.value, columns.value.value}:
            continue
        if name in sample.hive:
            values = len(sample.hive[name]) if not PARTITION.fullmatch(name.lower()) else 0
        else:
            values = distinct_count(sample.rows.column(name))
        if (2 if "version" not in name.lower() else 1) <= values <= FEW:
            names.append(name)
    return names
