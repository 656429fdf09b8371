"""`sli status`: the status of a store as lines.

Limit: an answer is computed and not yet printed; `models` prints it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from sli.calendar.duration import SECOND
from sli.calendar.interval import iso
from sli.command.answers import Answer
from sli.command.grid import columns, lines, terminal_width
from sli.config.model import Config
from sli.doctor.status import LastRun, Status, status
from sli.maintenance.collect import Collected
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE
from sli.planning.tasks import size_text
from sli.reading.figures import counted, number


def status_answer(options: argparse.Namespace, config: Config) -> Answer:  # noqa: ARG001
    """How a store is. Raises StoreError."""
    found = status(config)
    return Answer(
        lines=lambda: list(status_lines(found)),
        plain=lambda: {"model": config.model, **found.to_dict()},
        cells=lambda: _cells(found),
    )


def status_lines(found: Status) -> Iterator[str]:
    """One screen."""
    yield f"store        {found.store}"
    run = found.run
    if run is None:
        yield "last run     nothing is published yet: `sli run CONFIG`"
        return
    committed = run.committed // SECOND * SECOND
    ago = number(max(0, found.now - committed) / SECOND, unit="s")
    yield f"last run     {run.run_id}, published {iso(committed)}, {ago} ago"
    yield f"             {_did(run)}"
    yield f"newest hour  ends {iso(found.newest)}, {number(found.behind / SECOND, unit='s')} behind now"
    waiting, confirm, held = (counted(found.hours(need), "hour") for need in (RECOMPUTE, CONFIRM, HELD))
    yield f"waiting      {waiting} for a run, {confirm} to be confirmed by one, {held} held for a backfill"
    yield from (f"unfinished   {command}" for command in found.backfills)
    if found.due is not None:
        yield f"maintenance  {_due(found.due)}"
    yield ""
    yield from _tables(found)


def _due(due: Collected) -> str:
    parts = [f"{counted(due.files, 'file')} to remove, {size_text(due.bytes)}"] * bool(due.files)
    parts += [f"small files to merge, {counted(sum(due.merged.values()), 'file')} fewer"] * bool(due.merged)
    parts += [f"{counted(due.thinned, 'revision')} older than `history`"] * bool(due.thinned)
    return f"{', '.join(parts)}: runs do it by and by, `sli gc CONFIG` at once" if parts else "nothing is due"


def _did(run: LastRun) -> str:
    because = f": {', '.join(run.because)}" * bool(run.because)
    changed = f"{counted(run.changed, 'result')} changed"
    return f"as of {iso(run.as_of)}, {counted(run.hours, 'hour')} recomputed, {changed} in {run.seconds:.1f} s{because}"


def _tables(found: Status) -> list[str]:
    rows = [
        (size.name, f"{size.rows:,}", f"{size.live_files:,}", size_text(size.live_bytes), f"{size.files:,}", all_bytes)
        for size in found.tables
        for all_bytes in [size_text(size.bytes)]
    ]
    live, files = (f"{sum(getattr(size, name) for size in found.tables):,}" for name in ("live_files", "files"))
    whole = (size_text(sum(getattr(size, name) for size in found.tables)) for name in ("live_bytes", "bytes"))
    rows.append(("in all", "", live, next(whole), files, next(whole)))
    names = ("table", "rows", "files", "size", "with replaced", "size of all")
    return lines(columns(names, rows, left=("table",)), terminal_width())


def _cells(found: Status) -> dict[str, str]:
    """Its row in the table of several models."""
    if found.run is None:
        return {"outcome": "nothing is published yet"}
    held = f", {counted(found.hours(HELD), 'hour')} held" * bool(found.hours(HELD))
    size = size_text(sum(size.bytes for size in found.tables))
    behind = number(found.behind / SECOND, unit="s")
    return {"behind": behind, "size": size, "outcome": f"as of {iso(found.run.as_of)}{held}"}
