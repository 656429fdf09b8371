"""`sli init`: a commented config, guessed from the Parquet files themselves; every doubtful guess says `# check:`.

Limit: names and types come from the first readable file of each log and `SAMPLE` of its rows; only the time span is
taken from the footers of all files.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from sli import logs
from sli.config import PAIR_COLUMNS
from sli.errors import ConfigError, InputError, SliError
from sli.intervals import DAY, iso, zone
from sli.loading import checked, load_config

SAMPLE = 5_000
FEW = 20
"""A text column of at most so many values is worth slicing by."""

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
        "score prediction probability proba prob predicted y_score y_prob y_pred y_hat yhat pred output value"
    ),
    "feedback": "label target actual y_true truth ground_truth outcome feedback y observed value",
}
PARTITION = re.compile(r"(date|day|dt|ds|hour|hr|month|year|week|time|ts|y|m|d|h)")
SLIS = {
    "binary": (
        ("accuracy", "", "share of right decisions"),
        ("precision", "", "of the predicted positives, how many were"),
        ("recall", '{sli: recall, objective: ">= 0.8"}', "of the true positives, how many were found"),
        ("roc_auc", "", "how well the score ranks, whatever the threshold"),
        ("log_loss", "", "how good the probabilities are"),
    ),
    "regression": (
        ("mae", '{sli: mae, objective: "<= 1.5"}', "mean absolute error"),
        ("rmse", "", "root of the mean squared error"),
        ("bias", "", "mean of prediction minus truth"),
        ("r2", "", "share of the variance explained"),
    ),
}


@dataclass(frozen=True)
class Sample:
    """What is seen of one log: its first readable file, columns with their types, some rows, all paths."""

    log: str
    given: str
    file: str
    types: Mapping[str, Any]
    rows: pa.Table
    hive: Mapping[str, Collection[str]]


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


def write_config(path: Path, predictions: str, feedback: str, store: str, timezone: str) -> list[str]:
    """Write the config and say what was guessed and what to do next. Raises SliError; never overwrites a file."""
    zone(timezone)
    if path.exists():
        raise ConfigError("the file exists already", where=str(path), todo="name another file, or remove this one")
    if not path.resolve().parent.is_dir():
        raise ConfigError("there is no such folder", where=str(path.resolve().parent), todo="make it first")
    samples = _look("predictions", predictions), _look("feedback", feedback)
    ids = _ids(*samples)
    columns = tuple(
        Columns(each, time := _time(sample), _value(sample, {each.value, time.value}))
        for sample, each in zip(samples, ids, strict=True)
    )
    task = _task(samples, columns)
    since, warnings = _since(samples, columns, task.value, timezone)
    naive = [c.time.value for sample, c in zip(samples, columns, strict=True) if _naive(sample.types[c.time.value])]
    doubt = f"{' and '.join(dict.fromkeys(naive))} without a zone: is it UTC?" if naive and timezone == "UTC" else ""
    choices = {"task": task, "since": since, "timezone": Guess(timezone, doubt)}
    text = _text(path, samples, columns, choices, store)
    try:
        with path.open("x") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(f"the config cannot be written: {error.strerror}", where=str(path)) from error
    try:
        load_config(path)
    except SliError:
        path.unlink()
        raise
    return _said(path, samples, columns, choices) + warnings


def _look(log: str, given: str) -> Sample:
    """The first readable file of a log. Raises InputError or ConfigError."""
    fs, root, entries = logs.listing(log, given)
    if entries is None:
        raise ConfigError(f"the path of the {log} log does not exist", where=given, todo=f"check --{log}")
    found = sorted(entries)
    files = [file for file in found if logs.is_parquet(posixpath.relpath(file, root), file)]
    if not files:
        other = f"{len(found):,} other files, such as {posixpath.basename(found[0])}" if found else "an empty folder"
        raise InputError(
            f"the {log} log has no Parquet files",
            where=given,
            expected="files ending in .parquet, .pq or .parq",
            found=other,
        )
    hive: dict[str, set[str]] = {}
    for file in files:
        for part in posixpath.relpath(file, root).split("/")[:-1]:
            if "=" in part:
                hive.setdefault(part.split("=", 1)[0], set()).add(part.split("=", 1)[1])
    return _first_readable(log, given, fs, files, hive)


def _first_readable(log: str, given: str, fs: Any, files: Sequence[str], hive: Mapping[str, Collection[str]]) -> Sample:
    """Prefers a file with rows; an empty one still tells the columns."""
    empty, problem = None, ""
    for file in files[:100]:
        try:
            with fs.open(file, "rb") as opened:
                parquet = pq.ParquetFile(opened)
                schema = parquet.schema_arrow
                batch = next(parquet.iter_batches(SAMPLE), None) if parquet.metadata.num_rows else None
        except (OSError, pa.ArrowException, EOFError) as error:
            problem = problem or (str(error).splitlines() or [type(error).__name__])[0][:200]
            continue
        rows = schema.empty_table() if batch is None else pa.Table.from_batches([batch])
        types = {**dict.fromkeys(hive, pa.string()), **{field.name: field.type for field in schema}}
        sample = Sample(log, given, file, types, rows, hive)
        if len(rows):
            return sample
        empty = empty or sample
    if empty is None:
        raise InputError(f"no file of the {log} log can be read", where=files[0], expected="Parquet", found=problem)
    return empty


def _ids(predictions: Sample, feedback: Sample) -> tuple[Guess, Guess]:
    """The id of each log: a known name or one that sounds like an id, in both logs rather than in one."""
    common = [n for n in predictions.types if n in feedback.types and _can_be_id(predictions, n)]
    common = [n for n in sorted(common, key=_id_rank) if _can_be_id(feedback, n)]
    unique = [n for n in common if _unique(predictions, n)]
    # A number that merely does not repeat may be anything; a text that does not is hardly anything but an id.
    chosen = [n for n in unique if _id_rank(n) <= len(IDS) or _is_text(predictions.types[n])]
    chosen += [n for n in common if n.lower() in IDS]
    if chosen:
        sure = chosen[0].lower() in IDS and chosen[0] in unique
        return (Guess(chosen[0], "" if sure else "the id that joins both logs"),) * 2
    return tuple(_lone_id(sample) for sample in (predictions, feedback))  # type: ignore[return-value]


def _lone_id(sample: Sample) -> Guess:
    found = [name for name in sample.types if _can_be_id(sample, name)]
    named = [name for name in sorted(found, key=_id_rank) if _id_rank(name) <= len(IDS)]
    named = [name for name in named if _unique(sample, name)] or named
    chosen = named or [name for name in found if _unique(sample, name)][:1]
    if not chosen:
        raise _no_candidate(sample, "id", "a text or integer column that is unique for each prediction")
    return Guess(chosen[0], "the id that joins both logs; the other log calls it otherwise")


def _id_rank(name: str) -> int:
    """Known names first, in their order; then names that end like an id; then the others."""
    lower = name.lower()
    sounds = re.search(r"(^|_)(id|uuid|guid|key)$", lower) or re.search(r"[a-z]I[dD]$", name)
    return IDS.index(lower) if lower in IDS else len(IDS) + (0 if sounds else 1)


def _can_be_id(sample: Sample, name: str) -> bool:
    kind = sample.types[name]
    return name not in sample.hive and (_is_text(kind) or bool(pa.types.is_integer(kind)))


def _unique(sample: Sample, name: str) -> bool:
    """Whether hardly any value repeats; feedback may repeat an id for a correction."""
    column = sample.rows.column(name)
    return len(column) == 0 or _distinct(column) > 0.5 * len(column)


def _distinct(column: Any) -> int:
    column = column.cast(pa.string()) if pa.types.is_string_view(column.type) else column
    return len(pc.unique(column.combine_chunks()))


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: Any) -> bool:
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_decimal(kind))


def _naive(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)


def _time(sample: Sample) -> Guess:
    found = [name for name, kind in sample.types.items() if pa.types.is_timestamp(kind) or pa.types.is_date(kind)]
    stem = "predict|score|infer|serve" if sample.log == "predictions" else "feedback|label|known|outcome|actual|observe"
    what = "when the prediction was made" if sample.log == "predictions" else "when the true value became known"
    return _best(sample, "time", found, TIMES[sample.log].split(), stem, what, "a timestamp or date column")


def _value(sample: Sample, taken: Collection[str]) -> Guess:
    found = [name for name, kind in sample.types.items() if _is_number(kind) and name not in taken]
    first: Callable[[Any], bool] = pa.types.is_floating if sample.log == "predictions" else pa.types.is_boolean
    found.sort(key=lambda name: not first(sample.types[name]))
    stem = "score|pred|prob" if sample.log == "predictions" else "label|target|actual|true|truth|outcome"
    what = "the model's output" if sample.log == "predictions" else "the true value"
    return _best(sample, "value", found, VALUES[sample.log].split(), stem, what, "a number or boolean column")


def _best(
    sample: Sample, key: str, found: Sequence[str], known: Sequence[str], stem: str, what: str, expected: str
) -> Guess:
    """A known name, else the only candidate, both without doubt; else one that sounds right, else the first."""
    if not found:
        raise _no_candidate(sample, key, expected)
    named = sorted((name for name in found if name.lower() in known), key=lambda name: known.index(name.lower()))
    sounding = [name for name in found if re.search(stem, name.lower())]
    chosen = [*named, *sounding, *found][0]
    others = [name for name in found if name != chosen]
    if named or not others:
        return Guess(chosen)
    return Guess(chosen, f"{what}; it could also be {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}")


def _no_candidate(sample: Sample, key: str, expected: str) -> InputError:
    return InputError(
        f"no column of the {sample.log} log can be its {key}",
        where=sample.file,
        expected=expected,
        found=", ".join(f"{name} ({kind})" for name, kind in sample.types.items()) or "no columns",
        todo=f"log one, or write the config by hand with `{sample.log}.{key}`",
    )


def _task(samples: Sequence[Sample], columns: Sequence[Columns]) -> Guess:
    """Binary where labels are booleans or only 0 and 1."""
    label = columns[1].value.value
    kind = samples[1].types[label]
    inside = _all_between(samples[0], columns[0].value.value)
    score = columns[0].value.value
    if pa.types.is_boolean(kind):
        return Guess("binary", "" if inside else f"{label} is a boolean, but {score} is not always in 0..1")
    seen = {float(each) for each in pc.unique(samples[1].rows.column(label)).to_pylist() if each is not None}
    if seen and seen <= {0.0, 1.0}:
        return Guess("binary", "" if inside else f"{label} is 0 or 1, but {score} is not always in 0..1")
    if not seen:
        return Guess("binary" if inside else "regression", f"no value of {label} was seen")
    few = pa.types.is_integer(kind) and len(seen) <= FEW
    return Guess(
        "regression", f"{label} has only {len(seen)} values; classes beyond two are no task of sli" if few else ""
    )


def _all_between(sample: Sample, name: str) -> bool:
    bounds = pc.min_max(pc.cast(sample.rows.column(name), pa.float64(), safe=False)).as_py()
    return bounds["min"] is None or (bounds["min"] >= 0 and bounds["max"] <= 1)


def _since(samples: Sequence[Sample], columns: Sequence[Columns], task: str, timezone: str) -> tuple[Guess, list[str]]:
    """The local date of the earliest prediction in all footers, and a line for each log with unusable files."""
    sources = {
        sample.log: {"path": sample.given, "id": c.id.value, "time": c.time.value, "value": c.value.value}
        for sample, c in zip(samples, columns, strict=True)
    }
    probe = checked(
        {"model": "", "since": "2020-01-01", "store": "", "horizon": "7d", "timezone": timezone, "task": task}
        | {"slis": ("count",), **sources}
    )
    inputs = logs.discover(probe)
    span = logs.instants(inputs.predictions)
    if span is None:
        raise InputError("the predictions log holds no rows", where=samples[0].given, todo="log some predictions first")
    bad = [file for file in inputs.files if not file.usable]
    lines = [f"set aside would be {len(bad):,} files, such as {bad[0].path}: {bad[0].explanation}"] if bad else []
    long = span.end - span.start > 3 * 366 * DAY
    check = f"predictions span {iso(span.start)} to {iso(span.end)}; are the earliest real?" if long else ""
    return Guess(zone(timezone).date(span.start).isoformat(), check), lines


def _slices(sample: Sample, columns: Columns) -> list[str]:
    """Text columns of few values, but not those that only partition the log by time."""
    found = []
    for name, kind in sample.types.items():
        if not _is_text(kind) or name in {*PAIR_COLUMNS, columns.id.value}:
            continue
        if name in sample.hive:
            values = len(sample.hive[name]) if not PARTITION.fullmatch(name.lower()) else 0
        else:
            values = _distinct(sample.rows.column(name))
        if (2 if "version" not in name.lower() else 1) <= values <= FEW:
            found.append(name)
    return found


def _scalar(text: str) -> str:
    """A text as YAML, quoted where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]


def _written_path(given: str, folder: Path) -> str:
    """A path as it must stand in the config: relative ones are relative to the config's folder."""
    if "://" in given or given.startswith("~") or os.path.isabs(given) or folder == Path.cwd():
        return given
    return os.path.relpath(Path.cwd() / given, folder)


def _line(key: str, value: str, meaning: str, check: str = "") -> str:
    return f"{f'{key}: {value}':<40}  # {meaning}" + (f"  # check: {check}" if check else "")


def _log_lines(sample: Sample, columns: Columns, folder: Path, meanings: Sequence[str]) -> list[str]:
    path = _scalar(_written_path(sample.given, folder))
    guesses = zip(("id", "time", "value"), (columns.id, columns.time, columns.value), meanings, strict=True)
    return [
        f"{sample.log}:",
        _line("  path", path, "folder, file or URL of Parquet; hive-partitioned or flat"),
        *(_line(f"  {key}", _scalar(guess.value), meaning, guess.check) for key, guess, meaning in guesses),
    ]


def _slice_lines(sample: Sample, columns: Columns) -> list[str]:
    found = _slices(sample, columns)
    lines = [_line("slice_by", "[[]]", "which slices to compute; [] is all predictions together")]
    if found:
        sets = ", ".join(["[]", *(f"[{_scalar(name)}]" for name in found[:5])])
        lines.append(f"# slice_by: [{sets}]  # check: text columns of few values; [a, b] crosses two")
    return lines


def _sli_lines(task: str) -> list[str]:
    lines = ["slis:  # what to compute; `sli run` names what there is if one is unknown"]
    lines += [f"  - {name:<36}  # {meaning}" for name, _, meaning in SLIS[task]]
    lines.append(f"  - {'{sli: feedback_delay, q: 0.9}':<36}  # seconds until nine in ten labels are there")
    examples = [example for _, example, _ in SLIS[task] if example]
    return lines + [f"  # - {each:<34}  # an objective gives every value a verdict" for each in examples]


def _text(
    path: Path,
    samples: Sequence[Sample],
    columns: Sequence[Columns],
    choices: Mapping[str, Guess],
    store: str,
) -> str:
    """The config, a comment on every key."""
    folder, task = path.resolve().parent, choices["task"]
    truth = "the true value: 0/1 or boolean" if task.value == "binary" else "the true value"
    output = "probability of the positive class" if task.value == "binary" else "the predicted number"
    zone_meaning = "days are this zone's days; times without a zone are read in it"
    horizon_check = "how long after its prediction may feedback arrive?"
    lines = [
        f"# Written by `sli init` from {samples[0].given} and {samples[1].given}. Look at the lines that say check.",
        _line("model", _scalar(path.stem), "names the results"),
        _line("timezone", _scalar(choices["timezone"].value), zone_meaning, choices["timezone"].check),
        _line("since", choices["since"].value, "deployment: earlier is left out", choices["since"].check),
        _line("store", _scalar(_written_path(store, folder)), "where the results go; may be s3://bucket/prefix"),
        _line("horizon", "7d", "feedback later than this after its prediction does not count", horizon_check),
        "",
        *_log_lines(samples[0], columns[0], folder, ("joins the two logs", "when it was predicted", output)),
        "",
        *_log_lines(samples[1], columns[1], folder, ("joins the two logs", "when it became known", truth)),
        "",
        _line("task", task.value, "binary or regression", task.check),
    ]
    if task.value == "binary":
        meaning = "value >= threshold is the positive class"
        lines.append(_line("threshold", "0.5", meaning, "the one your service decides by"))
    lines += _slice_lines(samples[0], columns[0])
    lines.append(_line("grains", "[hour, day, cumulative, {size: 7d, every: 1d}]", "windows; the last one slides"))
    return "\n".join([*lines, *_sli_lines(task.value)]) + "\n"


def _said(path: Path, samples: Sequence[Sample], columns: Sequence[Columns], choices: Mapping[str, Guess]) -> list[str]:
    """What was written, what it rests on, what to look at, what to do next."""
    lines = [f"wrote {path}"]
    for sample, each in zip(samples, columns, strict=True):
        lines.append(
            f"  {sample.log}: id {each.id.value}, time {each.time.value}, value {each.value.value} (from {sample.file})"
        )
        guesses = {"id": each.id, "time": each.time, "value": each.value}
        lines += [f"  check {sample.log}.{key}: {guess.check}" for key, guess in guesses.items() if guess.check]
    lines.append(f"  task {choices['task'].value}, since {choices['since'].value}")
    lines += [f"  check {key}: {guess.check}" for key, guess in choices.items() if guess.check]
    shown = shlex.quote(str(path))
    return [
        *lines,
        "look at the lines that say `# check:`, among them horizon"
        + ", threshold" * (choices["task"].value == "binary"),
        f"next: sli plan {shown}",
        f"then: sli run {shown}",
    ]
