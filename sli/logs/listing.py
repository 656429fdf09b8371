"""What lies at the URL of a log: every Parquet file with its size and stamp, in one pass.

Of a local folder that is one scan of each of its folders, on S3 one request for a thousand files, however deep they
lie. What only bears the name of a Parquet file, such as a FIFO, is told apart and never opened: that could wait for
ever. Limit: elsewhere it is whatever the file system does, mostly a request for each folder.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from sli.engine.storage import NO_OPTIONS, Storage, filesystem, message_of, on_s3
from sli.errors import ConfigError, InputError

ENDINGS = (".parquet", ".pq", ".parq")
HIDDEN = ("_", ".")
"""How the names of files and folders begin that are no part of a log."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created", "CRC")
"""What file systems call that which tells a file from a later one of the same path and size."""


class Listing(NamedTuple):
    """The Parquet files of a log in the order of their paths: no object a file, since there may be very many."""

    paths: list[str]
    sizes: list[int]
    fingerprints: list[str]
    """What tells each file from a later one of its path."""
    others: list[str]
    """Paths of whatever else lies there and is not hidden."""
    refused: dict[str, str]
    """Of the paths those that cannot be files of a log, and why."""

    @staticmethod
    def empty() -> Listing:
        return Listing([], [], [], [], {})

    def add(self, path: str, size: int, fingerprint: str) -> None:
        self.paths.append(path)
        self.sizes.append(size)
        self.fingerprints.append(fingerprint)

    def refuse(self, path: str, why: str) -> None:
        self.add(path, 0, "")
        self.refused[path] = why

    def in_order(self) -> Listing:
        """The same by path, each of them text that can be written down."""
        if not _is_text("".join(self.paths)):
            return self._as_text().in_order()
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        paths, fingerprints = ([column[i] for i in order] for column in (self.paths, self.fingerprints))
        return Listing(paths, [self.sizes[i] for i in order], fingerprints, sorted(self.others), self.refused)

    def _as_text(self) -> Listing:
        """The same, but for names of bytes that are no text: such files are refused, by a name that shows the bytes."""
        found = Listing([], [], [], self.others, {as_text(path): why for path, why in self.refused.items()})
        for path, size, fingerprint in zip(self.paths, self.sizes, self.fingerprints, strict=True):
            found.add(as_text(path), size, fingerprint)
            if not _is_text(path):
                found.refused.setdefault(as_text(path), "its name is not UTF-8")
        return found

    @property
    def contents(self) -> str:
        """What lies there in a few words: `12 .csv files, no .parquet`."""
        kinds = Counter(os.path.splitext(as_text(path))[1] for path in self.others)
        told = [f"{count:,} {kind or 'unnamed'} file{'s' * (count != 1)}" for kind, count in kinds.most_common(3)]
        more = kinds.total() - sum(count for _, count in kinds.most_common(3))
        told += [f"{more:,} other file{'s' * (more != 1)}"] * bool(more)
        return f"{', '.join(told)}, no {ENDINGS[0]}" if told else "an empty folder"


def _is_text(path: str) -> bool:
    try:
        return path.isascii() or bool(path.encode())
    except UnicodeEncodeError:
        return False


def as_text(path: str) -> str:
    """A path as text that can be written down: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace") if not _is_text(path) else path


def list_files(log: str, url: str, storage: Storage = NO_OPTIONS) -> Listing | None:
    """What lies at the URL of a log; None if nothing does.

    Raises InputError where it cannot be listed, ConfigError where nothing is known that could.
    """
    try:
        return _remote(log, url, storage) if "://" in url else _local(url)
    except ConfigError as error:
        error.where = f"{log}.path, {error.where}"
        raise
    except InputError:
        raise
    except Exception as error:
        # Each kind of storage has errors of its own.
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            found=f"{type(error).__name__}: {message_of(error)}",
            todo="check the address and the credentials",
            passes=True,
        ) from error


def _local(root: str) -> Listing | None:
    root = os.path.abspath(root)
    found = Listing.empty()
    if os.path.isdir(root):
        waiting, named = [root], []
        while waiting:
            with suppress(FileNotFoundError):  # gone since its folder was listed
                folders = _scanned(waiting.pop(), found)
                waiting += folders
                named += [folder for folder in folders if folder.endswith(ENDINGS)]
        _refuse_empty(named, found)
    elif root.endswith(ENDINGS) and os.path.lexists(root):
        _add_odd(root, found)
    elif not os.path.exists(root):
        return None
    else:
        found.others.append(root)
    return found.in_order()


def _scanned(folder: str, found: Listing) -> list[str]:
    """Add a folder's files to what was found; its folders. Links to folders are left, lest they lead in circles."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.endswith(ENDINGS):
                if entry.is_file(follow_symlinks=False):
                    try:
                        found.add(entry.path, *_stamped(entry.stat()))
                    except FileNotFoundError:
                        continue  # gone since
                else:
                    _add_odd(entry.path, found)
            else:
                found.others.append(entry.path)
    return folders


def _refuse_empty(folders: list[str], found: Listing) -> None:
    """Of folders that bear the name of a file refuse the empty ones: others are tables, as some engines write them."""
    paths = sorted(found.paths) if folders else []
    for folder in folders:
        at = bisect_left(paths, folder + os.sep)
        if at == len(paths) or not paths[at].startswith(folder + os.sep):
            found.refuse(folder, "a folder that holds no Parquet file")


KINDS = (
    (stat.S_ISFIFO, "a FIFO, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISDIR, "a link to a folder, which is not followed lest it leads in circles"),
)
LINKS = {errno.ELOOP: "a link that leads to itself", errno.EACCES: "no permission to look at it"}


def _add_odd(path: str, found: Listing) -> None:
    """Add what a link leads to, or refuse what only bears the name of a file, without opening it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):  # else it is gone since
            found.refuse(path, "a link that leads nowhere")
    except OSError as error:
        if error.errno not in LINKS:
            raise
        found.refuse(path, LINKS[error.errno])
    else:
        if stat.S_ISREG(status.st_mode):
            found.add(path, *_stamped(status))
        else:
            found.refuse(path, next(what for is_kind, what in KINDS if is_kind(status.st_mode)))


def _stamped(status: os.stat_result) -> tuple[int, str]:
    """Size and fingerprint of a local file."""
    size = status.st_size
    return size, f"{size}-{status.st_mtime}"


def _remote(log: str, url: str, storage: Storage) -> Listing | None:
    fs, root = filesystem(url, storage)
    if isinstance(fs, LocalFileSystem):
        return _prefixed(fs, _local(root))
    # Without it a folder that cannot be listed would look as if its files were gone.
    strict = {"on_error": "raise"} if _walks(fs) else {}
    fs.invalidate_cache()
    try:
        entries = fs.find(root, detail=True, **strict)
    except FileNotFoundError:
        entries = {}
    if not entries:
        return Listing.empty() if fs.exists(root) else None
    first = next(iter(entries))
    prefix = fs.unstrip_protocol(first).removesuffix(first)
    found = Listing.empty()
    for path in sorted(entries):
        below = path.removeprefix(root).strip("/").split("/")
        if any(part.startswith(HIDDEN) for part in below):
            continue
        if path.endswith(ENDINGS):
            found.add(f"{prefix}{path}", *_remotely_stamped(log, f"{prefix}{path}", entries[path] or fs.info(path)))
        else:
            found.others.append(path)
    return found if _is_text("".join(found.paths)) else found.in_order()


def _prefixed(fs: LocalFileSystem, found: Listing | None) -> Listing | None:
    """What lies in a folder, by its URLs."""
    if found is None:
        return None
    refused = {fs.unstrip_protocol(path): why for path, why in found.refused.items()}
    return found._replace(paths=[fs.unstrip_protocol(path) for path in found.paths], refused=refused)


def _walks(fs: Any) -> bool:
    """Whether a file system finds files folder by folder, for want of a better way."""
    kind = type(fs)
    return kind.find is AbstractFileSystem.find or getattr(kind, "_find", None) is AsyncFileSystem._find


def _remotely_stamped(log: str, url: str, entry: Mapping[str, Any]) -> tuple[int, str]:
    """Size and fingerprint of a remote file. Raises InputError where they are not told."""
    size, stamp = entry.get("size"), next((entry[name] for name in STAMPS if entry.get(name)), None)
    if size is None or stamp is None:
        raise InputError(
            f"the {log} log cannot be listed",
            where=url,
            expected="a kind of storage that tells the size of each file, and its time or ETag",
            found=f"only {', '.join(sorted(entry))}",
            todo="copy the log to a folder or to object storage",
        )
    return int(size), f"{size}-{stamp}"


def is_current(path: str, fingerprint: str, storage: Storage = NO_OPTIONS) -> bool:
    """Whether a file is still the one that was listed. Raises whatever the file system does, but if it is gone."""
    try:
        if "://" not in path:
            return _stamped(os.stat(path))[1] == fingerprint
        fs, place = filesystem(path, storage)
        fs.invalidate_cache()
        # What a file system tells of one file may be worded in another way than in a listing.
        entries = [fs.info(place)] if on_s3(path) else fs.ls(fs._parent(place), detail=True)
        return any(_remotely_stamped("", e["name"], e)[1] == fingerprint for e in entries if e["name"] == place)
    except FileNotFoundError:
        return False
