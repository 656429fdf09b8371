"""Hides the panics that the table library prints when the disk is full.

A writer that failed panics once more while it is freed: it prints a panic and a stack trace to stderr, and only then
comes the error that says what is wrong. Limit: only when little disk space is left, since this delays what other
threads print to stderr.
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
"""If so many bytes stay free on the disk after the write, stderr is left alone."""
FIRST_LINE = re.compile(r"thread '.*' (\(\d+\) )?panicked at ")
FURTHER_LINE = re.compile(r"stack backtrace:|\s+\d+: |\s+at |note: |$")
_LOCK = threading.Lock()


@contextmanager
def hide_panics(folder: str, size: int) -> Iterator[None]:
    """While `size` bytes are written to a local folder, leave panics out of stderr."""
    if shutil.disk_usage(folder).free > size + SPARE_BYTES:
        yield
        return
    # In memory if the system can, since the disk is full.
    with (
        _LOCK,
        open(os.memfd_create("e"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as output,
    ):
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(output.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            output.seek(0)
            os.write(2, without_panics(output.read().decode(errors="replace")).encode())


def without_panics(text: str) -> str:
    """The lines of a text that do not belong to a panic."""
    lines: list[str] = []
    message_follows = in_panic = False
    for line in text.splitlines(keepends=True):
        if FIRST_LINE.match(line):
            message_follows = in_panic = True
            if lines and lines[-1] == "\n":
                lines.pop()
        elif message_follows:
            message_follows = False
        elif not in_panic or not FURTHER_LINE.match(line):
            in_panic = False
            lines.append(line)
    return "".join(lines)
