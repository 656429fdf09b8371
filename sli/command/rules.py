"""`sli export rules`: alerts and recordings for Prometheus, from the config alone.

Limit: an answer is computed and not yet printed; `models` prints it.
"""

from __future__ import annotations

import argparse
import os

from sli.command.answers import Answer
from sli.config.model import Config
from sli.engine.storage import message_of
from sli.errors import ConfigError, ExportError
from sli.export.replacing import replacing
from sli.export.rules import FIRST, rules_of


def rules_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Print the rules of a config, or write them to a file. Raises SliError."""
    text = rules_of(config)
    if not options.output:
        return Answer(lines=lambda: text.rstrip("\n").split("\n"), plain=lambda: {"text": text})
    try:
        _check_own(options.output)
        with replacing(options.output) as file:
            file.write(text)
    except OSError as error:
        raise ExportError("the rules cannot be written", where=options.output, found=message_of(error)) from error
    return Answer(lines=lambda: [f"{options.output}: written"], plain=lambda: {"path": options.output})


def _check_own(path: str) -> None:
    """Raise ConfigError unless there is no file yet, or older rules of sli."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        if file.readline() not in (FIRST, ""):
            raise ConfigError("these are not rules that sli wrote", where="-o", found=path, todo="choose another name")
