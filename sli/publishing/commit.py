"""The commit: a run writes all of its tables, then one commit of `results` makes them visible.

A run that changes nothing writes nothing. Limit: if another run published in between, the commit fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from sli import schemas
from sli.calendar.interval import moment
from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.idle import files_listed, idle_until
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.publishing.delta_tables import Replacing
from sli.publishing.diff import Difference
from sli.publishing.parquet_files import Partition, Written
from sli.publishing.thinning import removable, thin
from sli.publishing.transaction import SMALL_FILES, Transaction
from sli.publishing.unchanged import Idle

CALLS = "calls"
"""The key, in the plan of `runs`, of the calls of Python functions that the run made."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What a run writes besides its state."""

    changes: Difference
    tiles: Written | None
    """The hour tiles of the days touched; None: none is."""
    days: Written | None
    """The day tiles of the months touched."""
    touched: set[str]
    """The local days whose tiles changed."""
    index: Iterable[pa.Table]
    """The rows it adds to the index of ids. They are read while they are written, and only if a run writes anything."""
    forgotten: Collection[Partition]
    """The partitions of the index that it drops."""
    audit: pa.Table
    same_audit: bool
    """Whether the audit equals the published one."""
    files_seen: Iterable[tuple[pa.Table, Replacing]]
    """The rows that it writes to table `inputs`, and the partitions that they replace."""
    idle: Idle | None
    """When the next run has nothing to do, if that can be said."""
    history_from: int | None = None
    """Since when revisions stay, if it is time to remove older ones."""


def next_state(config: Config, transaction: Transaction, plan: Plan, newest: int, id_hash: str) -> Published:
    """The state that the next plan builds on; the commit adds its versions."""
    if plan.older and transaction.published is not None:
        return transaction.published
    return Published(
        sequence=transaction.sequence,
        run_id=plan.run_id,
        as_of=plan.as_of,
        base=config.base,
        newest=newest,
        states=tuple(config.states),
        slice_sets=plan.extent.slice_sets,
        grains=plan.extent.grains,
        series=plan.extent.series,
        objectives=plan.extent.objectives,
        needs=plan.left,
        backfills=plan.backfills,
        audit_sequence=transaction.sequence,
        id_hash=id_hash,
        timezone=config.timezone,
        listed=plan.listed,
    )


def next_idle(config: Config, plan: Plan, inputs: Inputs, newest: int) -> Idle | None:
    """When the next run has nothing to do; None if that cannot be said."""
    files, older = files_listed(config, inputs) if config.digest else ("", None)
    until = idle_until(config, inputs, plan, newest) if files else None
    if until is None:
        return None
    since, later = (None, ()) if older is None else (older.since, tuple(sorted(older.later)))
    return Idle(config=config.digest, files=files, as_of=plan.as_of, until=until, since=since, later=later)


def commit(transaction: Transaction, plan: Plan, staged: Staged, state: Published, began: float) -> bool:
    """Write the tables of a plan, then make all of it visible at once; return False if there is nothing to write.

    `began` is the start of the run by `time.monotonic`. Raises ConflictError if another run published meanwhile.
    """
    unchanged = _same_state(transaction.published, state) and not plan.files_changed and staged.same_audit
    changes, tables = staged.changes, plan.write.tables
    if changes.changed == 0 and (plan.older or unchanged):
        return False
    for name, rows, replacing in _writes(transaction, plan, staged, began):
        if name in tables:
            transaction.write(name, rows, replacing)
    if staged.history_from is not None and removable(transaction, staged.history_from):
        thin(transaction, staged.history_from)
    for name, least in SMALL_FILES.items():
        if name in tables:
            transaction.compact(name, least)
    results = Written(transaction.place("results"), schemas.RESULTS, changes.results)
    transaction.publish(state, results, (not plan.older and changes.partitions) or None, staged.idle)
    return True


RUN_FIELDS = ("sequence", "run_id", "as_of", "audit_sequence", "versions", "listed")
"""What differs in the states of two runs although the second one changes nothing."""


def _same_state(before: Published | None, state: Published) -> bool:
    """Whether two states are equal, apart from RUN_FIELDS."""
    if before is None:
        return False
    run_fields = {name: getattr(before, name) for name in RUN_FIELDS}
    return replace(state, **run_fields) == before


def _writes(
    transaction: Transaction, plan: Plan, staged: Staged, began: float
) -> Iterator[tuple[str, pa.Table | Written, Replacing]]:
    """What a run writes besides its results: tables with rows, and the partitions that these replace."""
    for name, written, values in (
        ("tiles", staged.tiles, sorted(staged.touched)),
        ("days", staged.days, sorted({day[:7] for day in staged.touched})),
    ):
        if written is not None:
            yield name, written, "all" if plan.write.replaces_all else [(value,) for value in values]
    if staged.forgotten:
        yield "keys", schemas.ID_INDEX.empty_table(), staged.forgotten
    yield from (("keys", rows, None) for rows in staged.index)
    yield from (("inputs", rows, replacing) for rows, replacing in staged.files_seen)
    sequence = transaction.sequence
    if len(staged.audit) or "audit" not in transaction.versions:
        yield (
            "audit",
            staged.audit.append_column("sequence", pa.array([sequence] * len(staged.audit), pa.int64())),
            None,
        )
    revisions = tuple(file for written in staged.changes.revisions for file in written.files)
    yield "revisions", Written(transaction.place("revisions"), schemas.REVISIONS, revisions), None
    yield "runs", _run_row(plan, sequence, staged.changes, time.monotonic() - began), None


def _run_row(plan: Plan, sequence: int, changes: Difference, seconds: float) -> pa.Table:
    """The row of `runs`."""
    asked, calls = plan.request.part, changes.calls
    row = {
        "run_id": plan.run_id,
        "sequence": sequence,
        "as_of": moment(plan.as_of),
        "asked_start": moment(asked.start) if asked else None,
        "asked_end": moment(asked.end) if asked else None,
        "backfill": plan.request.backfill.id if plan.request.backfill else None,
        "plan": json.dumps(plan.to_dict() | ({CALLS: calls._asdict()} if calls.number else {})),
        "tiles_recomputed": plan.tiles,
        "results_changed": changes.changed,
        "seconds": seconds,
    }
    return pa.Table.from_pylist([row], schema=schemas.RUNS)
