"""Maintenance of a store: a little after each run that published, or all of it at once.

What is removed follows from the files of the store alone, so maintenance that is interrupted or left out is made up for
by a later run. Limit: it needs the turn of the store; without one, only the ages of files keep runs out of each
other's way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sli.calendar.duration import Duration
from sli.engine.stored_files import StoredFolder
from sli.maintenance.reachable import needed_versions, oldest_needed
from sli.maintenance.removal import LONGEST_RUN, MOST_FILES, Removable, left_over, replaced_and_log, table_logs
from sli.maintenance.table_log import TableLog
from sli.publishing.store import Store

LEAST = 6
"""With at least so many publications that nobody needs, a run removes their files: each time costs some requests."""
MOST_SECONDS = 10.0
"""After so long, maintenance of a run begins with no further table."""


def keep_small(store: Store, keep: Duration, find_left_over: bool) -> None:
    """Remove what nobody needs any more from a store, if there is enough of it; at most about MOST_FILES a table.

    `keep` is how long replaced files stay. With `find_left_over` the whole store is listed for the files of killed
    runs. The time is that of the newest commit of `results`. Raises StoreError and what the storage raises.
    """
    began = time.monotonic()
    folder = StoredFolder(store.root, store.storage)
    results = TableLog.of(folder, "results")
    if results.newest is None:
        return
    now = results.newest.modified
    oldest = oldest_needed(results, now - keep.micros)
    unneeded = sum(version < oldest for version in results.commits) if oldest is not None else 0
    if unneeded < LEAST and not find_left_over:
        return
    for _, removable in _removable(store, folder, keep, now, find_left_over, MOST_FILES):
        removable.remove(folder)
        if time.monotonic() - began > MOST_SECONDS:
            break


def all_removable(store: Store, keep: Duration, now: int) -> dict[str, Removable]:
    """All that nobody needs any more at a time, by table; the empty name has left-over files of the whole store.

    Raises StoreError and what the storage raises.
    """
    folder = StoredFolder(store.root, store.storage)
    return dict(_removable(store, folder, keep, now, True, None))


def _removable(
    store: Store, folder: StoredFolder, keep: Duration, now: int, find_left_over: bool, most: int | None
) -> Iterator[tuple[str, Removable]]:
    logs = table_logs(folder)
    if "results" not in logs:
        return
    needed = needed_versions(logs["results"], now - keep.micros)
    files = folder.files(deep=True) if find_left_over else None
    present, replaced = None if files is None else {file.path for file in files}, set[str]()
    for name, log in logs.items():
        if name in needed:
            removable = replaced_and_log(store, log, needed[name], most).only(present)
            replaced |= removable.replaced.keys()
            yield name, removable
    if files is not None:
        unnamed = left_over(store, logs.values(), needed, files, now - max(keep.micros, LONGEST_RUN))
        yield "", Removable({}, {}, {path: size for path, size in unnamed.items() if path not in replaced})
