"""All maintenance of a store at once: what `sli gc` does.

Small files are merged by a publication of its own, which changes no row. Limit: the files that merging replaces stay
for `keep_files`, like all that was replaced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sli.calendar.duration import SECOND
from sli.config.model import Config
from sli.engine.stored_files import StoredFolder
from sli.maintenance.removal import Removable
from sli.maintenance.upkeep import all_removable
from sli.publishing import thinning, turns
from sli.publishing.store import Store
from sli.publishing.transaction import SMALL_FILES, Transaction


@dataclass(frozen=True)
class Collected:
    """What was done, or would be done."""

    removed: Mapping[str, Removable]
    """By the name of the table; the empty name has left-over files of the whole store."""
    merged: Mapping[str, int]
    """How many files each table has more than it needs, which are merged."""
    thinned: int
    """How many revisions are removed that are older than `history`."""

    @property
    def files(self) -> int:
        return sum(len(removable) for removable in self.removed.values())

    @property
    def bytes(self) -> int:
        return sum(removable.bytes for removable in self.removed.values())


def collect(config: Config, dry_run: bool = False) -> Collected:
    """Remove all that nobody needs any more, and merge small files; with `dry_run` only say what that would be.

    Waits for its turn. Raises ConflictError if a run publishes meanwhile, StoreError and what the storage raises.
    """
    store = Store(config.store, config.storage)
    folder = StoredFolder(config.store, config.storage)
    with turns.Turn(config.store, config.storage) as turn:
        if not dry_run:
            turn.take()
        transaction = Transaction(store)
        published = transaction.published
        if published is None:
            return Collected({}, {}, 0)
        published.check_current(config.store)
        merged = {name: more for name in SMALL_FILES if (more := transaction.small_files(name)) > 0}
        cut = thinning.cut_of(published.as_of, config.stored.history)
        thinned = thinning.removable(transaction, cut)
        if not dry_run and (merged or thinned):
            if cut is not None and thinned:
                thinning.thin(transaction, cut)
            for name in SMALL_FILES:
                transaction.compact(name, 1)
            transaction.publish_again()
        # A dry run writes nothing, so it goes by the clock of this machine.
        now = int(time.time() * SECOND) if dry_run else folder.now()
        removed = all_removable(store, config.stored.keep_files, now)
        if not dry_run:
            for removable in removed.values():
                removable.remove(folder)
    return Collected(removed, merged, thinned)
