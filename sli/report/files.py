"""Writing a file so that a reader sees the old one or the new one, never a part: locally or at a URL.

Limit: locally it is written beside its place first, so its folder must be writable.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sli.engine.storage import Storage, filesystem, message_of, on_s3
from sli.errors import ConfigError, StoreError


def check_file(path: str, storage: Storage) -> None:
    """Raise ConfigError if a path leads to a folder or the URL of an unknown file system: before any work."""
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
