"""The file that node_exporter reads, one for each model: a reader sees the old one or the new one, never a part.

It takes the place of an older file of the same model and of nothing else. Limit: on a disk of this machine, where
node_exporter is.
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote

from sli.engine.storage import message_of
from sli.errors import ConfigError, ExportError
from sli.export.replacing import replacing

ENDING = ".prom"
"""node_exporter reads no other files."""
UNSAFE = re.compile(r"[%/\x00-\x1f]")
"""Characters of a model that a file name cannot have, and the one they are escaped by."""
MARK = "# sli export prometheus, model "
"""How the first line of every such file begins; the model follows as JSON."""


def textfile_of(path: str, model: str) -> str:
    """The file for a model: the path itself, or one in it if it is a folder. Raises ConfigError for another ending.

    >>> textfile_of("metrics/", "fraud/eu"), textfile_of("a.prom", "fraud")
    ('metrics/sli-fraud%2Feu.prom', 'a.prom')
    """
    if path.endswith("/") or os.path.isdir(path):
        return os.path.join(path, f"sli-{UNSAFE.sub(lambda one: quote(one[0], safe=''), model)}{ENDING}")
    if not path.endswith(ENDING):
        raise ConfigError(
            f"node_exporter reads only files whose names end in {ENDING}",
            where="textfile",
            expected=f"a file like sli{ENDING}, or the folder of the textfile collector",
            found=path,
        )
    return path


def write_textfile(path: str, model: str, text: str) -> None:
    """Replace the file of a model. Raises ConfigError if it is that of something else, or ExportError."""
    first = MARK + json.dumps(model, ensure_ascii=False) + "\n"
    try:
        _check_own(path, first)
        # Its name does not end in `.prom` before it is complete.
        with replacing(path) as file:
            file.write(first + text)
    except OSError as error:
        raise _failed(path, error) from error


def _check_own(path: str, first: str) -> None:
    """Raise ConfigError unless there is no file yet, an empty one, or an older one of the same model."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = file.readline()
    except FileNotFoundError:
        return
    if found in (first, ""):
        return
    other = found.removeprefix(MARK).strip() if found.startswith(MARK) else ""
    raise ConfigError(
        f"this file has the samples of the model {other}" if other else "this file is not one that sli wrote",
        where="textfile",
        found=path,
        todo="name the folder instead: each model then has a file of its own" if other else "choose another name",
    )


def _failed(path: str, error: OSError) -> ExportError:
    folder = os.path.dirname(path) or "."
    missing = not os.path.isdir(folder)
    return ExportError(
        "the folder of the textfile does not exist" if missing else "the textfile cannot be written",
        where=path,
        found="" if missing else message_of(error),
        todo=f"create {folder}, where node_exporter looks (--collector.textfile.directory)"
        if missing
        else f"let the user that runs sli write in {folder}",
    )
