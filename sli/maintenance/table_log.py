"""The log of a Delta table as files: which versions it has, when each was made, which files a commit adds and removes.

The table library tells none of this for a version before the newest without reading all the log. Limit: it reads
commits, but no checkpoint: what a table has at a version, the library tells.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sli.engine.stored_files import StoredFile, StoredFolder
from sli.publishing.power_loss import CHECKPOINT, COMMIT

LEFT = re.compile(r"_commit_.*\.tmp|.*#\d+")
"""What a commit that was killed leaves beside the log."""


@dataclass(frozen=True)
class Commit:
    """One commit of a table."""

    version: int
    info: Mapping[str, Any]
    """What it says of itself, with the metadata of sli."""
    added: tuple[str, ...]
    removed: Mapping[str, int]
    """The bytes of each file that it removes. Paths are as they lie in the table's folder."""

    @staticmethod
    def parse(version: int, text: str) -> Commit:
        actions = [json.loads(line) for line in text.splitlines() if line]
        infos = [action["commitInfo"] for action in actions if "commitInfo" in action]
        added = tuple(unquote(action["add"]["path"]) for action in actions if "add" in action)
        removes = [action["remove"] for action in actions if "remove" in action]
        removed = {unquote(remove["path"]): int(remove.get("size") or 0) for remove in removes}
        return Commit(version, infos[-1] if infos else {}, added, removed)


@dataclass(frozen=True)
class TableLog:
    """The files of the log of a table, as a folder listing has them."""

    folder: StoredFolder
    table: str
    files: tuple[StoredFile, ...]

    @staticmethod
    def of(folder: StoredFolder, table: str) -> TableLog:
        """The log of a table in the folder of a store."""
        return TableLog(folder, table, tuple(folder.files(f"{table}/_delta_log")))

    @functools.cached_property
    def commits(self) -> dict[int, StoredFile]:
        """The file of each version, the oldest first."""
        return self._by_version(COMMIT)

    @functools.cached_property
    def checkpoints(self) -> dict[int, StoredFile]:
        return self._by_version(CHECKPOINT)

    def _by_version(self, pattern: re.Pattern[str]) -> dict[int, StoredFile]:
        matches = ((pattern.fullmatch(file.path.rpartition("/")[2]), file) for file in self.files)
        return {int(match[1]): file for match, file in matches if match}

    @property
    def newest(self) -> StoredFile | None:
        return self.commits[max(self.commits)] if self.commits else None

    @property
    def left_over(self) -> Iterable[StoredFile]:
        """The files of commits that were killed."""
        return (file for file in self.files if LEFT.fullmatch(file.path.rpartition("/")[2]))

    def last_checkpoint(self, version: int) -> int | None:
        """The newest checkpoint of a version or of one before: a reader of that version needs nothing older."""
        return max((known for known in self.checkpoints if known <= version), default=None)

    def older_than(self, version: int) -> list[StoredFile]:
        """The commits and checkpoints before a version."""
        both = (*self.commits.items(), *self.checkpoints.items())
        return sorted(file for known, file in both if known < version)

    def read(self, versions: Sequence[int]) -> list[Commit]:
        """Commits by their versions; those that are gone meanwhile are left out."""
        paths = {self.commits[version].path: version for version in versions if version in self.commits}
        texts = self.folder.texts(list(paths))
        return [Commit.parse(version, texts[path]) for path, version in paths.items() if path in texts]
