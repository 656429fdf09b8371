"""The status of a store on one screen: the last run, how far the results have come, what waits, and how large it is.

It reads the logs of the tables, their listing, and a row of one table. Limit: what has come since the last run shows in
`sli plan`, which lists the logs; it takes some seconds on S3 where there are tens of thousands of files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from sli.calendar.duration import SECOND
from sli.calendar.interval import BEGINNING, Interval, iso
from sli.config.model import Config
from sli.maintenance.collect import Collected, collect
from sli.maintenance.sizes import TableSize, table_sizes
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Need
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.store import Store


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The run that published last."""

    run_id: str
    as_of: int
    committed: int
    """When it committed, by the clock of the machine that ran it, in microseconds."""
    seconds: float
    hours: int
    """How many hours it recomputed."""
    changed: int
    """How many results it changed."""
    because: tuple[str, ...]
    """What changed in the logs, for example `new feedback`."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a store has, and what it waits for. Instants are UTC microseconds."""

    store: str
    now: int
    run: LastRun | None
    newest: int
    """End of the newest hour that is published."""
    tile: int
    """Length of an hour tile in microseconds: less than an hour in some zones."""
    needs: Mapping[str, tuple[Interval, ...]]
    """The hours that are held, wait for a run, or are to be confirmed."""
    backfills: tuple[str, ...]
    """The commands that continue unfinished backfills."""
    tables: Sequence[TableSize]
    due: Collected | None
    """What maintenance is due."""

    @property
    def behind(self) -> int:
        """How long before now the newest published hour ends, in microseconds."""
        return max(0, self.now - self.newest)

    def hours(self, need: str) -> int:
        """How many hours have a need."""
        return sum(one.end - one.start for one in self.needs.get(need, ())) // self.tile

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        run, due = self.run, self.due
        last = run and {**vars(run), "as_of": iso(run.as_of), "committed": iso(run.committed)}
        return {
            "store": self.store,
            "last_run": last,
            "newest_hour": iso(self.newest) if run else None,
            "behind_seconds": self.behind / SECOND if run else None,
            "hours": {need: self.hours(need) for need in NEEDS},
            "backfills": list(self.backfills),
            "tables": [vars(size) for size in self.tables],
            "maintenance": due
            and {
                "files": due.files,
                "bytes": due.bytes,
                "files_to_merge": sum(due.merged.values()),
                "revisions_to_thin": due.thinned,
            },
        }


NEEDS: tuple[Need, ...] = (RECOMPUTE, CONFIRM, HELD)


def status(config: Config) -> Status:
    """The status of the store of a config. Raises StoreError."""
    now, store = int(time.time()) * SECOND, Store(config.store, config.storage)
    results = store.results()
    published = store.published_state(results)
    if published is None or results is None:
        empty: dict[str, Any] = {
            "run": None,
            "newest": BEGINNING,
            "needs": {},
            "backfills": (),
            "tables": (),
            "due": None,
        }
        return Status(store=store.root, now=now, tile=config.tile, **empty)
    return Status(
        store=store.root,
        now=now,
        run=_last_run(store, published, results),
        newest=published.newest,
        tile=config.tile,
        needs={need: published.needs.of(need) for need in NEEDS if published.needs.of(need)},
        backfills=tuple(backfill.command for backfill in published.backfills),
        tables=table_sizes(store),
        due=None if published.outdated else collect(config, dry_run=True),
    )


def _last_run(store: Store, published: Published, results: Table) -> LastRun:
    columns = ["sequence", "plan", "tiles_recomputed", "results_changed", "seconds"]
    rows = store.rows("runs", published, columns, pc.field("sequence") == published.sequence).to_pylist()
    row: Mapping[str, Any] = rows[0] if rows else {}
    plan = json.loads(row.get("plan") or "{}")
    [commit] = results.history(1)
    return LastRun(
        run_id=published.run_id,
        as_of=published.as_of,
        committed=int(commit["timestamp"]) * 1000,
        seconds=float(row.get("seconds") or 0.0),
        hours=int(row.get("tiles_recomputed") or 0),
        changed=int(row.get("results_changed") or 0),
        because=tuple(dict.fromkeys(str(cause["what"]) for cause in plan.get("causes", ()))),
    )
