"""The text of a config that `sli init` writes: a comment on every key, `# check:` on what may be wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from sli.command.guessing.choose import Guess
from sli.command.guessing.guess import Guesses

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
RANKED = ("roc_auc", "log_loss")
"""SLIs that need a score, which decisions in words are not."""
VALUE_MEANINGS = {
    "binary": ("probability of the positive class", "the true value: 0/1 or boolean"),
    "multiclass": ("the predicted class", "the true class"),
    "regression": ("the predicted number", "the true value"),
}
"""What the value of a prediction and of feedback is, for each task."""
TIME_MEANINGS = ("when it was predicted", "when it became known")
LABELS_MEANING = "values that are positive and negative; rows with any other are set aside"
PATH_MEANING = "folder, file, pattern or table, or a list of them; local or a URL"
WHERE_MEANING = "only rows for which this is true"


def config_text(path: Path, guesses: Guesses, store: str) -> str:
    """The config that is written to a path."""
    folder, task, choices = path.resolve().parent, str(guesses.values.task.value), guesses.choices
    logs = [" ".join(sample.paths) for sample in guesses.samples]
    horizon, early = guesses.delays.horizon, guesses.delays.early
    zone_meaning = "days are this zone's days; times without a zone are read in it"
    lines = [
        f"# Written by `sli init` from {' and '.join(logs)}. Look at the lines that say check.",
        _line("model", Guess(path.stem), "names the results"),
        _line("timezone", choices["timezone"], zone_meaning),
        _line("since", Guess(_Bare(guesses.since.value), guesses.since.check), "deployment: earlier is left out"),
        _line("store", Guess(written_path(store, folder)), "where the results go; may be s3://bucket/prefix"),
        _line("horizon", horizon, "feedback later than this after its prediction does not count"),
        "",
        *_log_lines(guesses, 0, folder),
        *_score_lines(guesses),
        "",
        *_log_lines(guesses, 1, folder),
        *([_line("  early", early, "how long before its prediction feedback may be known")] if early else []),
        "",
        *_task_lines(guesses),
        *_slice_lines(guesses.slices),
        _line("grains", Guess(_Bare(GRAINS)), "or week, month; the last one slides"),
        *_sli_lines(task, guesses),
    ]
    return "\n".join(lines) + "\n"


GRAINS = "[hour, day, cumulative, {size: 7d, every: 1d}]"


class _Bare(str):
    """A text that is YAML already."""

    def __new__(cls, text: object) -> _Bare:
        return super().__new__(cls, str(text))


def in_yaml(value: object) -> str:
    """A value as YAML on one line, quoted if needed.

    >>> in_yaml({"positive": ["yes"], "negative": ["no"]})
    "{positive: ['yes'], negative: ['no']}"
    """
    if isinstance(value, _Bare):
        return value
    written = yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return written.strip()[1:-1]


def written_path(path: str, folder: Path) -> str:
    """A path as the config needs it: a relative path is relative to the config's folder."""
    if "://" in path or path.startswith("~") or os.path.isabs(path) or folder == Path.cwd():
        return path
    return os.path.relpath(Path.cwd() / path, folder)


def _line(key: str, guess: Guess, meaning: str) -> str:
    check = f"  # check: {guess.check}" if guess.check else ""
    return f"{f'{key}: {in_yaml(guess.value)}':<40}  # {meaning}{check}"


def _log_lines(guesses: Guesses, at: int, folder: Path) -> list[str]:
    sample = guesses.samples[at]
    value = VALUE_MEANINGS[str(guesses.values.task.value)][at]
    if guesses.values.labels[at]:
        value = ("the decision", "the true value, by `labels`")[at]
    meanings = {
        "where": WHERE_MEANING,
        "id": "joins the two logs",
        "time": TIME_MEANINGS[at],
        "value": value,
        "labels": LABELS_MEANING,
    }
    paths = [written_path(path, folder) for path in sample.paths]
    path = Guess(paths[0] if len(paths) == 1 else paths)
    lines = [f"{sample.log}:", _line("  path", path, PATH_MEANING)]
    lines += [_line("  # where", condition, WHERE_MEANING) for condition in guesses.conditions[at]]
    return lines + [_line(f"  {key}", guess, meanings[key]) for key, guess in guesses.log_keys(at).items()]


def _score_lines(guesses: Guesses) -> list[str]:
    scores = guesses.scores
    if scores is None:
        return []
    value = scores.setting
    if isinstance(value, dict):
        value = {_class(guesses, name): column for name, column in value.items()}
    if scores.sure:
        return [_line("  scores", Guess(value), "each class's probability, for roc_auc, log_loss, top_k_accuracy")]
    order = "" if isinstance(value, dict) else "; in the order of `classes`"
    return [
        f"  # scores: {in_yaml(value)}  # check: each class's probability, for roc_auc, log_loss, top_k_accuracy{order}"
    ]


def _class(guesses: Guesses, name: str) -> object:
    """A class as YAML has it: whole numbers if all classes are."""
    whole = all(re.fullmatch(r"-?\d+", name) for name in guesses.values.classes)
    return int(name) if whole else name


def _task_lines(guesses: Guesses) -> list[str]:
    task = guesses.values.task
    lines = [_line("task", task, "binary, multiclass, regression or ranking")]
    if guesses.query:
        key = f"`query: {in_yaml(guesses.query)}`"
        lines.append(f"# Ranked within one {guesses.query}? Then task: ranking, and under predictions {key}.")
    if task.value == "binary":
        check = "the one your service decides by"
        lines.append(_line("threshold", Guess(_Bare("0.5"), check), "value >= threshold is the positive class"))
    if guesses.classes:
        key_value = guesses.classes_key
        named = key_value.value
        names = [_class(guesses, name) for name in guesses.classes]
        value = dict(zip(names, named.values(), strict=True)) if isinstance(named, dict) else names
        meaning = "all classes" + ", each with its other spellings" * isinstance(named, dict)
        lines.append(_line("classes", Guess(value, key_value.check), meaning))
    return lines


def _slice_lines(names: Sequence[str]) -> list[str]:
    lines = [_line("slice_by", Guess(_Bare("[[]]")), "which slices to compute; [] is all predictions together")]
    if names:
        sets = ", ".join(["[]", *(f"[{in_yaml(name)}]" for name in names[:5])])
        lines.append(f"# slice_by: [{sets}]  # check: text columns of few values; [a, b] crosses two")
        lines.append(_line("# min_support", Guess(30), "slices of fewer predictions get no value"))
    return lines


def _sli_lines(task: str, guesses: Guesses) -> list[str]:
    classes = ", ".join(in_yaml(_class(guesses, name)) for name in guesses.classes)
    decided = guesses.values.labels[0] is not None
    lines = ["slis:  # what to compute; for an unknown name `sli run` lists the known ones"]
    for name, _, meaning in SLIS[task]:
        if not (decided and name in RANKED):
            lines.append(f"  - {name.replace('CLASSES', classes):<36}  # {meaning}")
    if guesses.scores and guesses.scores.sure:
        lines.append(f"  - {'log_loss':<36}  # how good the probabilities are")
    lines.append(f"  - {'{sli: feedback_delay, q: 0.9}':<36}  # seconds until nine in ten labels are there")
    examples = [example for _, example, _ in SLIS[task] if example]
    return lines + [f"  # - {example:<34}  # an objective gives every value a verdict" for example in examples]
