"""The log of a table in a folder, and what a power loss may do to it: what is on the disk, in which order.

A file system keeps in memory for seconds what is written, and may write it in any order; the table library leaves it
so. So a run forces to the disk all that its publication rests on, then publishes, then forces the publication: a power
loss cuts off only what no run has told as published. Such commits are stepped over by readers, and removed by the next
run. Limit: a disk that says that it has what it has not can still lose a publication.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

LOG = logging.getLogger("sli.store")
CREATE = "CREATE TABLE"
"""The operation of the first commit of a table, of which the library writes the columns last."""
LAST_KEY = "sli_last_action"
"""The key, in the metadata of a commit, of the action on its last line: one that was cut between two lines lacks it."""
COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
HINT = "_last_checkpoint"
FOOTER = b"PAR1"
"""The last bytes of a whole Parquet file."""
AT_ONCE = 32
"""How many files are forced to the disk together: the disk then writes its own log once for many."""
SETTLED = 60.0
"""Seconds after which a commit that is not whole will never be: on a network drive it may still be on its way."""
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)
"""Errors of file systems and folders that cannot be forced to the disk."""


class Versions(NamedTuple):
    """The versions that the log has files of, in order."""

    commits: list[int]
    checkpoints: list[int]


class FolderLog:
    """The log of a table in a folder. All methods raise OSError."""

    def __init__(self, table: str | Path) -> None:
        self.table = Path(table)
        self.folder = self.table / "_delta_log"

    def _commit(self, version: int) -> Path:
        return self.folder / f"{version:020}.json"

    def _checkpoint(self, version: int) -> Path:
        return self.folder / f"{version:020}.checkpoint.parquet"

    def _versions(self) -> Versions:
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return Versions([], [])
        found = ([int(match[1]) for name in names if (match := kind.fullmatch(name))] for kind in (COMMIT, CHECKPOINT))
        return Versions(*found)

    def first_cut(self) -> tuple[int, int] | None:
        """The first version of a commit that is missing or not whole, of those that a reader needs, and the newest.

        None if all are there.
        """
        commits, checkpoints = self._versions()
        if not commits:
            return None
        newest = commits[-1]
        last = newest if is_whole(self._commit(newest).read_bytes()) else newest - 1
        whole = (version for version in reversed(checkpoints) if version <= last and self._has_footer(version))
        # Maintenance removes the commits before a checkpoint.
        base = next(whole, -1)
        for expected, version in zip(itertools.count(base + 1), (c for c in commits if c > base), strict=False):
            if version != expected or not is_whole(self._commit(version).read_bytes()):
                return expected, newest
        return None

    def _has_footer(self, version: int) -> bool:
        with open(self._checkpoint(version), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(FOOTER)))
            return file.read() == FOOTER

    def damaged_checkpoint(self) -> Path | None:
        """The newest checkpoint, if it is not whole: a reader would begin with it."""
        checkpoints = self._versions().checkpoints
        return None if not checkpoints or self._has_footer(checkpoints[-1]) else self._checkpoint(checkpoints[-1])

    def infos(self, version: int) -> Iterator[dict[str, Any]]:
        """What the commits up to a version say of themselves, the newest first, each with its `version`."""
        for number in reversed([known for known in self._versions().commits if known <= version]):
            for action in _actions(self._commit(number)):
                if "commitInfo" in action:
                    yield {"version": number, **action["commitInfo"]}

    def mend(self) -> None:
        """Remove the commits from the first on that a power loss cut off, and checkpoints that are not whole.

        Nothing is removed that is whole or becomes whole while it waits, so several runs can do this at once.
        """
        if self.first_cut() is None and self.damaged_checkpoint() is None:
            return
        with self._alone():
            cut = self.first_cut()
            if cut is not None and self._commit(cut[1]).exists():
                age = time.time() - self._commit(cut[1]).stat().st_mtime
                time.sleep(min(SETTLED, max(0.0, SETTLED - age)))
                cut = self.first_cut()
            commits, checkpoints = self._versions()
            first = cut[0] if cut else commits[-1] + 1
            damaged = [version for version in checkpoints if version >= first or not self._has_footer(version)]
            # The newest first: interrupted, it leaves no gap.
            gone = [self._commit(version) for version in reversed(commits) if version >= first]
            gone = [*(self._checkpoint(version) for version in damaged), *gone]
            # It may name one of these checkpoints; without it a reader looks for the newest.
            for path in (self.folder / HINT, *gone) if gone else ():
                path.unlink(missing_ok=True)
            _force([self.folder])
        if gone:
            names = ", ".join(sorted(path.name for path in gone))
            LOG.warning(f"removed from the log of {self.table} what a power loss cut off before it counted: {names}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            # Where locks do not work, only one run mends, as only one works.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def new_files(self, after: int) -> list[Path]:
        """The commits after a version, their checkpoints, and the files that they add."""
        commits, checkpoints = self._versions()
        new = [self._commit(version) for version in commits if version > after]
        added = [self.table / unquote(add["path"]) for path in new for add in _adds(path)]
        new += [self._checkpoint(version) for version in checkpoints if version > after]
        hint = self.folder / HINT
        return [*added, *new, *([hint] if new and hint.exists() else [])]


def is_whole(commit: bytes) -> bool:
    """Whether a commit was written to its end: its first and last line are JSON, and the last is the one it names.

    >>> is_whole(b'{"add":{}}'), is_whole(b'{"add":{'), is_whole(b'')
    (True, False, False)
    """
    lines = commit.rstrip().splitlines()
    try:
        first, last = json.loads(lines[0]), json.loads(lines[-1])
    except (IndexError, ValueError):
        return False
    info = first.get("commitInfo", {}) if isinstance(first, dict) else {}
    ends_with = "metaData" if info.get("operation") == CREATE else info.get(LAST_KEY)
    # Pages that were not written read as zeros.
    return b"\0" not in commit and (ends_with is None or ends_with in last)


def _actions(commit: Path) -> Iterator[dict[str, Any]]:
    with suppress(FileNotFoundError), open(commit, encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _adds(commit: Path) -> Iterator[dict[str, Any]]:
    return (action["add"] for action in _actions(commit) if "add" in action)


def force(files: Iterable[Path], root: Path, above: bool = False) -> None:
    """Force files to the disk, then their folders up to a root, also those `above` it. Raises OSError."""
    paths = sorted(set(files))
    folders = {folder for path in paths for folder in path.parents if above or folder.is_relative_to(root)}
    _force(paths)
    _force(sorted(folders))


def _force(paths: Iterable[Path]) -> None:
    from concurrent.futures import ThreadPoolExecutor  # not at the top: a run that finds nothing to do forces nothing

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(_force_one, paths))


def _force_one(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        pass  # a commit names it that a power loss spared; it was never published, and is rolled back
    except OSError as error:
        if not (path.is_dir() and error.errno in UNSUPPORTED):
            raise
