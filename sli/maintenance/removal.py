"""The files of a store that can be removed, and their removal.

Three kinds: files that a commit removed from a table before its oldest needed version; the log before the checkpoint
below that version; and left-over files of runs that were killed, which no commit names. Files go before the log that
names them, so that what is interrupted is done again. Limit: a left-over file is told by its age alone, so it stays
until it is older than any run takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from sli.calendar.duration import DAY
from sli.engine.stored_files import StoredFile, StoredFolder
from sli.errors import StoreError
from sli.maintenance.table_log import TableLog
from sli.publishing.store import LAYOUT, Store

LONGEST_RUN = DAY
"""How old a file must be at least that no commit names: a run that still works may be about to commit it."""
OWN = re.compile(r"part-.*\.parquet|_run-.*")
"""The files of a table that sli and the table library write; what else lies there is not touched."""
PROBE = re.compile(r"_probe-.*")
MOST_FILES = 2_000
"""About how many files are removed from a table after a run; the rest waits for the next runs."""


@dataclass(frozen=True)
class Removable:
    """Files that can be removed, by their paths in the folder of the store."""

    replaced: Mapping[str, int]
    """Files that no needed version of their table has: bytes by path."""
    log: Mapping[str, int]
    """Commits and checkpoints that no reader needs."""
    left_over: Mapping[str, int]
    """Files of runs that were killed."""

    def __len__(self) -> int:
        return len(self.replaced) + len(self.log) + len(self.left_over)

    @property
    def bytes(self) -> int:
        return sum(sum(files.values()) for files in (self.replaced, self.log, self.left_over))

    def only(self, present: Collection[str] | None) -> Removable:
        """The same without replaced files that are gone already. None: whatever may be gone."""
        if present is None:
            return self
        return replace(self, replaced={path: size for path, size in self.replaced.items() if path in present})

    def remove(self, folder: StoredFolder) -> None:
        """Raises what the storage raises; the same call again removes the rest."""
        for files in (self.replaced, self.left_over, self.log):
            folder.remove(files)


def replaced_and_log(store: Store, log: TableLog, needed: int, most: int | None = MOST_FILES) -> Removable:
    """What a table no longer needs, apart from left-over files. With `most`, of a long log only its beginning.

    Raises StoreError and what the storage raises.
    """
    oldest = min(log.commits, default=0)
    steps = [known for known in sorted(log.checkpoints) if oldest < known < needed] if most is not None else []
    replaced: dict[str, int] = {}
    reached, until = oldest, needed
    for until in (*steps, needed):
        # Version `until` lacks what its own commit removes, so that commit counts.
        for commit in log.read(range(reached, until + 1)):
            replaced |= {f"{log.table}/{path}": size for path, size in commit.removed.items()}
        reached = until + 1
        if most is not None and len(replaced) >= most:
            break
    named = _named(store, log, until) if replaced else frozenset[str]()
    checkpoint = log.last_checkpoint(until)
    old = log.older_than(checkpoint) if checkpoint is not None else []
    unneeded = {path: size for path, size in replaced.items() if path not in named}
    return Removable(unneeded, {file.path: file.bytes for file in old}, {})


def _named(store: Store, log: TableLog, needed: int) -> frozenset[str]:
    """The paths, below the store, that a version of a table or any later one has. Raises StoreError."""
    table = store.tables.open(log.table, needed)
    if table is None:
        raise store.missing_version(log.table, needed)
    paths = {unquote(str(path)) for path in table.counts().column("path").to_pylist()}
    for commit in log.read([version for version in log.commits if version > needed]):
        paths.update(commit.added)
    return frozenset(f"{log.table}/{path}" for path in paths)


def left_over(
    store: Store,
    logs: Iterable[TableLog],
    needed: Mapping[str, int],
    files: Sequence[StoredFile],
    before: int,
) -> dict[str, int]:
    """The files, of all `files` of a store, that no commit names and that were written before an instant: their bytes.

    Raises StoreError and what the storage raises.
    """
    names = {file.path: file.bytes for file in files if PROBE.fullmatch(file.path) and file.modified < before}
    for log in logs:
        if log.table not in needed:
            continue
        # The logs are listed before the files, so a file that is committed in between is newer than `before`.
        named, own = _named(store, log, needed[log.table]), [file for file in files if _is_of(log.table, file)]
        # Older versions may lack files already, if `keep_files` was shorter.
        if not _named(store, log, max(log.commits)) <= {file.path for file in own}:
            raise StoreError(
                "files that a table names are not where they should be, so nothing of it is removed",
                where=store.tables.uri(log.table),
                todo="restore them from a copy of the store",
            )
        left = (*(file for file in own if file.path not in named), *log.left_over)
        names |= {file.path: file.bytes for file in left if file.modified < before}
    return names


def _is_of(table: str, file: StoredFile) -> bool:
    """Whether a file has, or may once have had, rows of a table."""
    inside = file.path.startswith(f"{table}/") and not file.path.startswith(f"{table}/_delta_log/")
    return inside and OWN.fullmatch(file.path.rpartition("/")[2]) is not None


def table_logs(folder: StoredFolder) -> dict[str, TableLog]:
    """The log of each table of a store."""
    logs = (TableLog.of(folder, name) for name in LAYOUT)
    return {log.table: log for log in logs if log.commits}
