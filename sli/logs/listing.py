"""The files of a log as lists: path, size, fingerprint and when each was written.

Limit: a file that was replaced by one of the same size at the same time, or with the same ETag, counts as the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sli.errors import InputError

if TYPE_CHECKING:
    from sli.logs.folder_dates import Older

ENDINGS = (".parquet", ".pq", ".parq")
HIDDEN = ("_", ".")
"""Files and folders whose names begin like this are not part of a log."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created", "CRC")
"""What file systems call the stamp that changes when a file is replaced by another one of the same size."""
TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")
"""What file systems call the time when a file was written."""


class Listing(NamedTuple):
    """The Parquet files of a log, as lists in the order of their paths: objects for very many files would be slow."""

    paths: list[str]
    sizes: list[int]
    fingerprints: list[str]
    """Size and stamp of each file: they differ when the file is replaced."""
    others: list[str]
    """Paths of the other files there that are not hidden."""
    refused: dict[str, str]
    """The paths that cannot be files of a log, with the reason."""
    modified: list[int]
    """When each file was written, in microseconds since 1970 UTC; 0 if its storage does not say."""
    tables: dict[str, str]
    """The tables that name the files, by their path: for example `Delta table, version 12`."""
    misnamed: dict[str, str]
    """Columns of tables that cannot be read from the files by their name, with the reason."""
    missing: dict[str, str]
    """The paths that lead to nothing, each with what there is instead."""

    @staticmethod
    def empty() -> Listing:
        return Listing([], [], [], [], {}, [], {}, {}, {})

    def add(self, path: str, size: int, fingerprint: str, modified: int) -> None:
        self.paths.append(path)
        self.sizes.append(size)
        self.fingerprints.append(fingerprint)
        self.modified.append(modified)

    def refuse(self, path: str, why: str) -> None:
        self.add(path, 0, "", 0)
        self.refused[path] = why

    def add_all(self, other: Listing) -> None:
        """Add all of another listing."""
        pairs: Iterable[tuple[Any, Any]] = zip(self, other, strict=True)
        for own, more in pairs:
            own.extend(more) if isinstance(own, list) else own.update(more)

    def sorted_by_path(self) -> Listing:
        """The same in the order of the paths, which become text that can be printed and stored."""
        if not is_text("".join(self.paths)):
            return self._printable().sorted_by_path()
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        return self.take(order)._replace(others=sorted(self.others))

    def take(self, places: Sequence[int]) -> Listing:
        """The same with only the files at these places."""
        paths, fingerprints = ([column[i] for i in places] for column in (self.paths, self.fingerprints))
        sizes, modified = ([column[i] for i in places] for column in (self.sizes, self.modified))
        return self._replace(paths=paths, sizes=sizes, fingerprints=fingerprints, modified=modified)

    def without(self, older: Older | None) -> Listing:
        """The same without the files in older folders."""
        if older is None:
            return self
        return self.take([i for i, path in enumerate(self.paths) if not older.holds(path.rpartition("/")[0])])

    def _printable(self) -> Listing:
        """The same with paths that are not UTF-8 refused; their bytes appear as `\\xff` in the path."""
        refused = {printable(path): why for path, why in self.refused.items()}
        for path in self.paths:
            if not is_text(path):
                refused.setdefault(printable(path), "its name is not UTF-8")
        return self._replace(paths=[*map(printable, self.paths)], refused=refused)

    @property
    def is_plain(self) -> bool:
        """Whether all of it is Parquet files, where they should be, that may be read by their names."""
        return bool(self.paths) and not (self.refused or self.tables or self.missing)

    @property
    def described_tables(self) -> tuple[str, ...]:
        """The tables that name the files, for example `Delta table, version 12, 34 files`; with paths if several."""
        texts = []
        for folder, name in self.tables.items():
            below = sum(path.startswith(f"{folder}/") for path in self.paths)
            # The files of an Iceberg table may lie elsewhere.
            count = below or len(self.paths)
            where = f"{folder}: " if len(self.tables) > 1 else ""
            texts.append(f"{where}{name}, {count:,} file{'s' * (count != 1)}")
        return tuple(texts)

    @property
    def summary(self) -> str:
        """What other files lie there, for example `12 .csv files, no .parquet`."""
        kinds = Counter(os.path.splitext(printable(path))[1] for path in self.others)
        counts = [f"{count:,} {kind or 'unnamed'} file{'s' * (count != 1)}" for kind, count in kinds.most_common(3)]
        more = kinds.total() - sum(count for _, count in kinds.most_common(3))
        counts += [f"{more:,} other file{'s' * (more != 1)}"] * bool(more)
        return f"{', '.join(counts)}, no {ENDINGS[0]}" if counts else "an empty folder"


def digest_of(paths: Sequence[str], fingerprints: Sequence[str]) -> str:
    """A hash of files: it differs once a file comes, goes or is replaced."""
    return hashlib.sha256(json.dumps([paths, fingerprints]).encode()).hexdigest()


def is_text(path: str) -> bool:
    try:
        return path.isascii() or bool(path.encode())
    except UnicodeEncodeError:
        return False


def printable(path: str) -> str:
    """A path as text that can be printed and stored: bytes that are not UTF-8 appear as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace") if not is_text(path) else path


def stamps_of(status: os.stat_result) -> tuple[int, str, int]:
    """Size, fingerprint and time of change of a local file."""
    size = status.st_size
    return size, f"{size}-{status.st_mtime}", status.st_mtime_ns // 1000


def remote_stamps(log: str, url: str, entry: Mapping[str, Any]) -> tuple[int, str, int]:
    """Size, fingerprint and time of change of a remote file.

    Raises InputError if the file system does not give the first two.
    """
    size, stamp = entry.get("size"), next((entry[name] for name in STAMPS if entry.get(name)), None)
    if size is None or stamp is None:
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            expected="storage that gives the size of each file, and its time or ETag",
            found=f"only {', '.join(sorted(entry))}",
            todo="copy the log to a folder or to object storage",
        )
    return int(size), f"{size}-{stamp}", _micros_of(next((entry[name] for name in TIMES if entry.get(name)), 0))


def _micros_of(time: object) -> int:
    """Microseconds since 1970 UTC of a time as file systems give it; 0 if it is none."""
    if isinstance(time, str):
        with suppress(ValueError):
            time = datetime.fromisoformat(time)
    if isinstance(time, datetime):
        from sli.calendar.interval import instant  # imports NumPy, which a run that finds nothing to do need not

        return instant(time if time.tzinfo else time.replace(tzinfo=UTC))
    return int(time * 1_000_000) if isinstance(time, int | float) else 0
