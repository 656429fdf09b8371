"""Panics of the table library, kept off the terminal where the disk is about full.

Its writer, when it has failed, fails once more while it is put away and prints that and a stack to the standard error
of the process, before the error that says what is wrong comes back. Limit: it is done only where little room is left,
since all that other threads print meanwhile is held back.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SPARE_BYTES = 256 << 20
"""Spare bytes, beside those to be written: with that many free on the disk, stderr is left alone."""
HEAD = re.compile(r"thread '.*' (\(\d+\) )?panicked at ")
REST = re.compile(r"stack backtrace:|\s+\d+: |\s+at |note: |$")
_ONE = threading.Lock()


@contextmanager
def hide_panics(folder: str, size: int) -> Iterator[None]:
    """Print no panics while so many bytes are written to a local folder."""
    if shutil.disk_usage(folder).free > size + SPARE_BYTES:
        yield
        return
    # In memory where the system can: the disk is full.
    with _ONE, open(os.memfd_create("e"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            os.write(2, without_panics(kept.read().decode(errors="replace")).encode())


def without_panics(text: str) -> str:
    """The lines of a text that do not belong to a panic."""
    lines: list[str] = []
    message = within = False
    for line in text.splitlines(keepends=True):
        if HEAD.match(line):
            message = within = True
            if lines and lines[-1] == "\n":
                lines.pop()
        elif message:
            message = False
        elif not within or not REST.match(line):
            within = False
            lines.append(line)
    return "".join(lines)
