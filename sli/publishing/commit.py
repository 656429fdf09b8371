"""Staging and the commit: a run writes all of its tables, then one commit of `results` makes them visible.

Nothing is written where a run has nothing to say. Limit: what another run published in between fails the commit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.interval import moment
from sli.config.model import Config
from sli.logs.files import Files, Inputs
from sli.matching.id_index import HASH, keys_of
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.publishing.diff import Difference
from sli.publishing.history import restated_rows
from sli.publishing.rows import stored_batches
from sli.publishing.transaction import Transaction


@dataclass(frozen=True)
class NewKeys:
    """The files whose keys a run adds, and the hash of all keys once it has; none where there are no keys yet."""

    hash: str
    files: Files | None = None


def new_keys(inputs: Inputs, chosen: Plan, seen: Inputs, published: Published | None) -> NewKeys:
    """The keys of the files that came since the published run."""
    looked_up = chosen.new_rows is not None and chosen.new_rows.any
    if published is None or chosen.from_scratch or (published.id_hash != HASH and not looked_up):
        return NewKeys("")
    new = [
        files.take(files.usable & ~files.as_in(before, "fingerprint", "problem"))
        for files, before in zip(inputs.logs, seen.logs, strict=True)
    ]
    return NewKeys(HASH, new[0].with_more(new[1]))


@dataclass(frozen=True)
class Staged:
    """What a run writes beside its results."""

    tiles: pa.Table
    days: pa.Table
    touched: set[str]
    keys: NewKeys
    audit: pa.Table
    same_audit: bool
    inputs: Inputs
    seen: Inputs


def state_of(config: Config, chosen: Plan, newest: int, published: Published | None, keys: NewKeys) -> Published:
    """What the next plan will rest on."""
    if chosen.older and published is not None:
        return published
    return Published(
        sequence=0,
        run_id=chosen.run_id,
        as_of=chosen.as_of,
        base=config.base,
        newest=newest,
        states=tuple(config.states),
        slice_sets=chosen.slice_sets,
        grains=tuple(grain.name for grain in config.all_grains),
        series={each.name: config.definition(each) for each in config.declared},
        objectives={each.name: each.objective.text if each.objective else None for each in config.declared},
        waiting=chosen.waiting,
        waiting_to_confirm=chosen.waiting_to_confirm,
        held=chosen.held,
        lacking_states=chosen.lacking_states,
        backfills=chosen.backfills,
        id_hash=keys.hash,
        timezone=config.timezone,
    )


def commit(
    config: Config,
    transaction: Transaction,
    chosen: Plan,
    changes: Difference,
    staged: Staged,
    state: Published,
    began: float,
) -> bool:
    """Stage every table, then make all of it visible at once. False if there is nothing to say."""
    unchanged = _unchanged(transaction.published, state) and not chosen.files_changed and staged.same_audit
    if len(changes.revised) == 0 and (chosen.older or unchanged):
        return False
    backfill = chosen.request.backfill
    stamp = {"sequence": transaction.sequence, "backfill": backfill.id if backfill else None}
    revised = stored_batches(changes.revised, stamp)
    if chosen.older:
        whole = pa.concat_tables(revised, promote_options="permissive")
        later = restated_rows(transaction.store, transaction.published, whole, chosen.as_of, transaction.sequence)
        revised = iter([whole, later])
    else:
        _write_tiles(transaction, staged.tiles, staged.days, staged.touched, chosen)
        for rows in keys_of(config, staged.keys.files or ()):
            transaction.write("keys", rows)
        transaction.compact("keys")
        _remember(transaction, staged)
        audit = staged.audit
        sequence = pa.array([transaction.sequence] * len(audit), pa.int64())
        transaction.write("audit", audit.append_column("sequence", sequence))
        state = replace(state, audit_sequence=transaction.sequence)
    transaction.write("revisions", revised)
    transaction.write("runs", _run_row(chosen, transaction.sequence, len(changes.revised), time.monotonic() - began))
    rows = changes.rows if not chosen.older else changes.rows.slice(0, 0)
    transaction.publish(
        state,
        stored_batches(rows, {}),
        None if chosen.older or not changes.partitions else _replacing(changes.partitions),
    )
    return True


def _unchanged(before: Published | None, state: Published) -> bool:
    """Whether the next plan would rest on the same."""
    if before is None:
        return False
    same = {name: getattr(before, name) for name in ("sequence", "run_id", "as_of", "audit_sequence", "versions")}
    return replace(state, **same) == before


def _remember(transaction: Transaction, staged: Staged) -> None:
    """Write which files this run saw: mostly only those that came to the ones seen before."""
    more = staged.inputs.beside(staged.seen)
    if more is None or "inputs" not in transaction.versions:
        transaction.write("inputs", pa.Table.from_batches([staged.inputs.files.rows]), replacing="true")
    elif len(more):
        transaction.write("inputs", pa.Table.from_batches([more.rows]))
        transaction.compact("inputs")


def _write_tiles(
    transaction: Transaction, tiles: pa.Table, days: pa.Table, touched: Collection[str], plan: Plan
) -> None:
    """Write the partitions of the hour and day tiles that this run touched."""
    if plan.from_scratch:
        replacing = "true" if transaction.published else None
        transaction.write("tiles", tiles, replacing=replacing)
        transaction.write("days", days, replacing=replacing)
        return
    for name, rows, partition, values in (
        ("tiles", tiles, "day", sorted(touched)),
        ("days", days, "month", sorted({each[:7] for each in touched})),
    ):
        if values:
            transaction.write(
                name,
                rows.filter(pc.is_in(rows.column(partition), pa.array(values))),
                replacing=f"{partition} IN ({', '.join(map(repr, values))})",
            )


def _run_row(plan: Plan, sequence: int, changed: int, seconds: float) -> pa.Table:
    """The row of `runs`."""
    asked = plan.request.part
    row = {
        "run_id": plan.run_id,
        "sequence": sequence,
        "as_of": moment(plan.as_of),
        "asked_start": moment(asked.start) if asked else None,
        "asked_end": moment(asked.end) if asked else None,
        "backfill": plan.request.backfill.id if plan.request.backfill else None,
        "plan": json.dumps(plan.to_dict()),
        "tiles_recomputed": plan.tiles,
        "results_changed": changed,
        "seconds": seconds,
    }
    return pa.Table.from_pylist([row], schema=schemas.RUNS)


def _replacing(partitions: dict[str, list[str]]) -> str:
    """The predicate that names the partitions of `results` to replace."""
    parts = [
        f"(grain = '{grain}' AND day IN ({', '.join(repr(day) for day in days)}))" for grain, days in partitions.items()
    ]
    return " OR ".join(parts)
