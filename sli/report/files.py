"""Writing a page so that a reader sees the old one or the new one, never a part: locally or at a URL.

A page takes the place of an older page and of nothing else: no config, no log, no table. Limit: locally it is written
beside its place first, so its folder must be writable.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from sli.config.model import Config
from sli.engine.storage import Storage, filesystem, message_of, on_s3
from sli.errors import ConfigError, StoreError
from sli.publishing.store import LAYOUT

MARK = b'<meta name="generator" content="sli report">'
"""Stands within the first `HEAD` bytes of every page that sli writes."""
HEAD = 1000


def check_file(path: str, config: Config) -> None:
    """Raise ConfigError if a page must not be written there: before any work.

    That is a folder, the URL of an unknown file system, a place within the logs or tables of the config, or a file
    that is not a page.
    """
    storage = config.storage
    if "://" in path:
        filesystem(path, storage)
    if path.endswith("/") or os.path.isdir(path):
        raise ConfigError(
            "the page needs a file, and this is a folder",
            where="-o",
            expected="a file name",
            found=path,
            todo=f"write -o {path.rstrip('/')}/report.html",
        )
    for what, pattern in _inputs(config):
        if _within(path, pattern):
            raise ConfigError(
                f"a page cannot be written into {what}",
                where="-o",
                found=path,
                todo="choose another folder with -o",
            )
    # An empty file holds nothing that could be lost.
    if MARK not in (_head(path, storage) or MARK):
        raise ConfigError(
            "this file is not a page of sli, so it is not replaced",
            where="-o",
            expected="a new file, or a page of `sli report`",
            found=path,
            todo="choose another name with -o, or move that file away",
        )


def check_folder(path: str, storage: Storage) -> None:
    """Raise ConfigError if a path leads to a file or the URL of an unknown file system: before any work."""
    if "://" in path:
        filesystem(path, storage)
    elif os.path.isfile(path):
        raise ConfigError(
            "the pages of several models need a folder, and this is a file",
            where="-o",
            found=path,
            todo="name a folder",
        )


def _inputs(config: Config) -> Iterator[tuple[str, str]]:
    """What a page must not lie in, and its pattern: the tables and the logs of a config."""
    for table in LAYOUT:
        yield f"the table `{table}` of the store", f"{config.store.rstrip('/')}/{table}"
    for name, source in config.sources.items():
        for path in source.path:
            yield f"a log ({name}.path)", path


def _within(path: str, pattern: str) -> bool:
    """Whether a path is, or lies below, what a pattern of a config leads to."""
    own, parts = _parts(path), _parts(pattern)
    if "**" in parts:
        parts = parts[: parts.index("**")]
    return len(own) >= len(parts) and all(a == b or fnmatch(a, b) for a, b in zip(own, parts, strict=False))


def _parts(path: str) -> list[str]:
    path = path.removeprefix("file://")
    return (path if "://" in path else os.path.realpath(path)).split("/")


def _head(path: str, storage: Storage) -> bytes | None:
    """The first bytes of a file; None if there is no file, or none that can be read now."""
    try:
        if "://" in path:
            fs, place = filesystem(path, storage)
            return bytes(fs.cat_file(place, start=0, end=HEAD))
        if os.path.exists(path) and not os.path.isfile(path):
            return b"a device"
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        # Whether it can be written is told when it is.
        return None


def write_file(path: str, content: bytes, storage: Storage) -> None:
    """Replace a file by this content; missing folders are created. Raises StoreError."""
    path = path.removeprefix("file://")
    try:
        if "://" in path:
            fs, place = filesystem(path, storage)
            # Without its type a browser would offer to save the page.
            fs.pipe_file(place, content, **({"ContentType": "text/html; charset=utf-8"} if on_s3(path) else {}))
        else:
            _replace(Path(path), content)
    except OSError as error:
        raise StoreError(
            "the page cannot be written",
            where=path,
            found=error.strerror or message_of(error),
            todo="choose another place with -o",
            passes=True,
        ) from error


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
