"""`sli init`: writes a config from what the logs look like, says what to check of it, and plans a run with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from sli.calendar.zone import zone
from sli.command.config_text import config_text, in_yaml
from sli.command.guessing.guess import Guesses, guess
from sli.command.text import plan_lines
from sli.config.load import load_config
from sli.errors import ConfigError, SliError
from sli.runs.preview import plan


def write_config(
    path: Path, predictions: Sequence[str], feedback: Sequence[str], store: str, timezone: str
) -> list[str]:
    """Write a new config for logs at some paths. Returns lines that say what is guessed. Raises SliError."""
    zone(timezone)
    if path.exists():
        raise ConfigError("the file exists already", where=str(path), todo="name another file, or remove this one")
    if not path.resolve().parent.is_dir():
        raise ConfigError("there is no such folder", where=str(path.resolve().parent), todo="make it first")
    guesses = guess(predictions, feedback, timezone)
    text = config_text(path, guesses, store)
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


def planned(path: Path) -> Sequence[str]:
    """What a run with a new config would do, as `sli plan` says it. Raises SliError."""
    config = load_config(path)
    return ["", f"a first run (`sli plan {shlex.quote(str(path))}`):"] + [
        f"  {line}" for line in plan_lines(plan(config), config)
    ]


def _summary(path: Path, guesses: Guesses) -> list[str]:
    """What was written, from what, what to check, and what to do next."""
    lines = [f"wrote {path}"]
    for at, sample in enumerate(guesses.samples):
        keys = guesses.log_keys(at)
        names = ", ".join(f"{key} {in_yaml(guess.value)}" for key, guess in keys.items())
        lines.append(f"  {sample.log}: {names} (from {sample.file})")
        lines += [f"  check {sample.log}.{key}: {guess.check}" for key, guess in keys.items() if guess.check]
        lines += [
            f"  check {sample.log}.where: {condition.check}; `where: {in_yaml(condition.value)}`"
            for condition in guesses.conditions[at]
        ]
    lines.append(f"  task {guesses.values.task.value}, since {guesses.since.value}")
    choices = {**guesses.choices, **({"classes": guesses.classes_key} if guesses.classes else {})}
    lines += [f"  check {key}: {guess.check}" for key, guess in choices.items() if guess.check]
    shown = shlex.quote(str(path))
    return [
        *lines,
        "look at the lines that say `# check:`, among them horizon"
        + ", threshold" * (guesses.values.task.value == "binary"),
        f"next: sli plan {shown}",
        f"then: sli run {shown}",
        *guesses.warnings,
    ]
