"""`sli init`: a commented config from what the logs look like; a guess that may be wrong says `# check:`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from sli.calendar.zone import zone
from sli.command.guess import Columns, Guesses, guess
from sli.command.sample import Sample
from sli.config.load import load_config
from sli.errors import ConfigError, SliError

SLIS = {
    "binary": (
        ("accuracy", "", "share of right decisions"),
        ("precision", "", "share of predicted positives that are positive"),
        ("recall", '{sli: recall, objective: ">= 0.8"}', "share of real positives that were predicted"),
        ("roc_auc", "", "how well the score ranks, at any threshold"),
        ("log_loss", "", "how good the probabilities are"),
    ),
    "multiclass": (
        ("accuracy", '{sli: accuracy, objective: ">= 0.9"}', "share of right decisions"),
        ("f1", "", "precision and recall in one, the mean of all classes"),
        ("{sli: recall, label: [CLASSES]}", "", "one SLI for each class: share of its cases that were predicted"),
    ),
    "regression": (
        ("mae", '{sli: mae, objective: "<= 1.5"}', "mean absolute error"),
        ("rmse", "", "root of the mean squared error"),
        ("bias", "", "mean of prediction minus label"),
        ("r2", "", "share of the variance explained"),
    ),
}
VALUE_MEANINGS = {
    "binary": ("probability of the positive class", "the true value: 0/1 or boolean"),
    "multiclass": ("the predicted class", "the true class"),
    "regression": ("the predicted number", "the true value"),
}
"""What the value of a prediction and of feedback is, for each task."""


def write_config(path: Path, predictions: str, feedback: str, store: str, timezone: str) -> list[str]:
    """Write a new config. Returns lines that say what is guessed and what to do next. Raises SliError."""
    zone(timezone)
    if path.exists():
        raise ConfigError("the file exists already", where=str(path), todo="name another file, or remove this one")
    if not path.resolve().parent.is_dir():
        raise ConfigError("there is no such folder", where=str(path.resolve().parent), todo="make it first")
    guesses = guess(predictions, feedback, timezone)
    text = _text(path, guesses, store)
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"the config cannot be written: {error.strerror}", where=str(path)) from error
    try:
        load_config(path)
    except SliError:
        path.unlink()
        raise
    return _summary(path, guesses)


def _scalar(text: str) -> str:
    """A text as YAML, quoted if needed."""
    return yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]


def _written_path(path: str, folder: Path) -> str:
    """A path as the config needs it: a relative path is relative to the config's folder."""
    if "://" in path or path.startswith("~") or os.path.isabs(path) or folder == Path.cwd():
        return path
    return os.path.relpath(Path.cwd() / path, folder)


def _line(key: str, value: str, meaning: str, check: str = "") -> str:
    return f"{f'{key}: {value}':<40}  # {meaning}" + (f"  # check: {check}" if check else "")


def _log_lines(sample: Sample, columns: Columns, folder: Path, meanings: Sequence[str]) -> list[str]:
    path = _scalar(_written_path(sample.path, folder))
    guesses = zip(("id", "time", "value"), (columns.id, columns.time, columns.value), meanings, strict=True)
    return [
        f"{sample.log}:",
        _line("  path", path, "folder, file or URL of Parquet; hive-partitioned or flat"),
        *(_line(f"  {key}", _scalar(guess.value), meaning, guess.check) for key, guess, meaning in guesses),
    ]


def _score_lines(guesses: Guesses) -> list[str]:
    pairs = ", ".join(f"{_class(guesses, name)}: {_scalar(column)}" for name, column in guesses.scores.items())
    return [f"  # scores: {{{pairs}}}  # check: each class's probability, for roc_auc, log_loss, top_k_accuracy"]


def _class(guesses: Guesses, name: str) -> str:
    return name if guesses.whole else _scalar(name)


def _slice_lines(names: Sequence[str]) -> list[str]:
    lines = [_line("slice_by", "[[]]", "which slices to compute; [] is all predictions together")]
    if names:
        sets = ", ".join(["[]", *(f"[{_scalar(name)}]" for name in names[:5])])
        lines.append(f"# slice_by: [{sets}]  # check: text columns of few values; [a, b] crosses two")
        lines.append(_line("# min_support", "30", "slices of fewer predictions get no value"))
    return lines


def _sli_lines(task: str, classes: str) -> list[str]:
    lines = ["slis:  # what to compute; for an unknown name `sli run` lists the known ones"]
    lines += [f"  - {name.replace('CLASSES', classes):<36}  # {meaning}" for name, _, meaning in SLIS[task]]
    lines.append(f"  - {'{sli: feedback_delay, q: 0.9}':<36}  # seconds until nine in ten labels are there")
    examples = [example for _, example, _ in SLIS[task] if example]
    return lines + [f"  # - {example:<34}  # an objective gives every value a verdict" for example in examples]


def _task_lines(guesses: Guesses, classes: str) -> list[str]:
    choices = guesses.choices
    lines = [_line("task", guesses.task.value, "binary, multiclass, regression or ranking", guesses.task.check)]
    if guesses.query:
        key = f"`query: {_scalar(guesses.query)}`"
        lines.append(f"# Ranked within one {guesses.query}? Then task: ranking, and under predictions {key}.")
    if guesses.task.value == "binary":
        meaning = "value >= threshold is the positive class"
        lines.append(_line("threshold", "0.5", meaning, "the one your service decides by"))
    if guesses.classes:
        lines.append(_line("classes", f"[{classes}]", "all classes", choices["classes"].check))
    return lines


def _text(path: Path, guesses: Guesses, store: str) -> str:
    """The config, a comment on every key."""
    folder, task, choices = path.resolve().parent, guesses.task.value, guesses.choices
    (predictions, feedback), columns = guesses.samples, guesses.columns
    classes = ", ".join(_class(guesses, name) for name in guesses.classes)
    output, truth = VALUE_MEANINGS[task]
    zone_meaning = "days are this zone's days; times without a zone are read in it"
    horizon_check = "how long after its prediction may feedback arrive?"
    lines = [
        f"# Written by `sli init` from {predictions.path} and {feedback.path}. Look at the lines that say check.",
        _line("model", _scalar(path.stem), "names the results"),
        _line("timezone", _scalar(guesses.timezone.value), zone_meaning, choices["timezone"].check),
        _line("since", guesses.since.value, "deployment: earlier is left out", guesses.since.check),
        _line("store", _scalar(_written_path(store, folder)), "where the results go; may be s3://bucket/prefix"),
        _line("horizon", "7d", "feedback later than this after its prediction does not count", horizon_check),
        "",
        *_log_lines(predictions, columns[0], folder, ("joins the two logs", "when it was predicted", output)),
        *(_score_lines(guesses) if guesses.scores else []),
        "",
        *_log_lines(feedback, columns[1], folder, ("joins the two logs", "when it became known", truth)),
        "",
        *_task_lines(guesses, classes),
        *_slice_lines(guesses.slices),
        _line("grains", "[hour, day, cumulative, {size: 7d, every: 1d}]", "or week, month; the last one slides"),
        *_sli_lines(task, classes),
    ]
    return "\n".join(lines) + "\n"


def _summary(path: Path, guesses: Guesses) -> list[str]:
    """What was written, from what, what to check, and what to do next."""
    lines = [f"wrote {path}"]
    for sample, columns in zip(guesses.samples, guesses.columns, strict=True):
        keys = {"id": columns.id, "time": columns.time, "value": columns.value}
        names = ", ".join(f"{key} {guess.value}" for key, guess in keys.items())
        lines.append(f"  {sample.log}: {names} (from {sample.file})")
        lines += [f"  check {sample.log}.{key}: {guess.check}" for key, guess in keys.items() if guess.check]
    lines.append(f"  task {guesses.task.value}, since {guesses.since.value}")
    lines += [f"  check {key}: {guess.check}" for key, guess in guesses.choices.items() if guess.check]
    shown = shlex.quote(str(path))
    return [
        *lines,
        "look at the lines that say `# check:`, among them horizon" + ", threshold" * (guesses.task.value == "binary"),
        f"next: sli plan {shown}",
        f"then: sli run {shown}",
        *guesses.warnings,
    ]
