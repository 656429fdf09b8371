"""Paths with `*`, `?`, `[...]` and `**` (any number of folders): where to look, and which files there they name.

A path that names a folder names all files below it. Limit: what exists as it is written is taken literally, in a URL
only the path as a whole.
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
from typing import Any, NamedTuple

from sli.errors import ConfigError

MAGIC = re.compile(r"[*?\[]")
SHOWN = 5
"""How many names of a folder a message lists."""


class Pattern:
    """The part of a path below a folder, with wildcards."""

    def __init__(self, text: str) -> None:
        self.parts = text.strip("/").split("/")
        text = "/".join(self.parts)
        self.whole = re.compile(f"{_regex(text)}|{_regex(f'{text}/**')}")
        fixed = self.parts.index("**") if "**" in self.parts else len(self.parts)
        self.folders = [re.compile(_regex(part)) for part in self.parts[:fixed]]

    def names(self, path: str) -> bool:
        """Whether this names a file or folder, by its path below the folder where the pattern starts."""
        return self.whole.match(path) is not None

    def leads_to(self, path: str) -> bool:
        """Whether files that this names may lie in a folder."""
        return not path or all(regex.match(part) for regex, part in zip(self.folders, path.split("/"), strict=False))

    @property
    def beginning(self) -> str:
        """The text with which all paths begin that this names."""
        return MAGIC.split(self.parts[0])[0]


class Place(NamedTuple):
    """Where to look for files: a file or folder, and which of the files below it are meant, without a pattern all."""

    root: str
    pattern: Pattern | None = None

    def names(self, path: str) -> bool:
        """Whether a file or folder is meant: all below a folder that is meant are."""
        below = self._below(path)
        return below is not None and (self.pattern is None or self.pattern.names(below))

    def leads_to(self, folder: str) -> bool:
        """Whether files that are meant may lie in a folder."""
        below = self._below(folder)
        return below is not None and (self.pattern is None or self.pattern.leads_to(below))

    def _below(self, path: str) -> str | None:
        """The path from the root to a path; None if it does not lie there."""
        root = self.root.rstrip("/")
        if path == root:
            return ""
        return path[len(root) + 1 :] if path.startswith(f"{root}/") else None


def _regex(pattern: str) -> str:
    """The regular expression of a pattern. Raises ConfigError."""
    from fsspec.utils import glob_translate

    try:
        return str(glob_translate(pattern))
    except ValueError as error:
        raise ConfigError(
            "`**` must stand alone between slashes", where=pattern, expected="for example logs/**/*.parquet"
        ) from error


def has_wildcards(path: str) -> bool:
    return MAGIC.search(path) is not None


def local_place(path: str) -> Place:
    """Where to look for an absolute local path. Folders that exist as they are written are no patterns."""
    root, parts = os.sep, path.strip(os.sep).split(os.sep)
    for at, part in enumerate(parts):
        if has_wildcards(part) and not os.path.lexists(os.path.join(root, part)):
            return Place(root, Pattern("/".join(parts[at:])))
        root = os.path.join(root, part)
    return Place(path)


def remote_place(fs: Any, path: str) -> Place:
    """Where to look for a path of a remote file system."""
    if not has_wildcards(path) or fs.exists(path):
        return Place(path)
    parts = path.split("/")
    fixed = next(at for at, part in enumerate(parts) if has_wildcards(part))
    return Place("/".join(parts[:fixed]), Pattern("/".join(parts[fixed:])))


def near(fs: Any, place: Place) -> str:
    """What the nearest folder holds where a path names nothing, for example `/logs holds only a.csv, b.csv`."""
    parts = place.pattern.parts if place.pattern else []
    for count in range(len(parts) - 1, 0, -1):
        found = fs.glob("/".join([glob.escape(place.root), *parts[:count]]))
        if folder := next((path for path in found if fs.isdir(path)), None):
            return _contents(fs, folder)
    folder = place.root
    while not fs.isdir(folder) and posixpath.dirname(folder) not in ("", folder):
        folder = posixpath.dirname(folder)
    return _contents(fs, folder)


def _contents(fs: Any, folder: str) -> str:
    names = sorted(posixpath.basename(path.rstrip("/")) for path in fs.ls(folder, detail=False))
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{folder} holds only {', '.join(names[:SHOWN])}{more}" if names else f"{folder} is empty"
