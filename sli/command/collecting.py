"""`sli gc`: what it removed from a store and merged, or would.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse
import time

from sli.command.answers import Answer
from sli.config.model import Config
from sli.maintenance.collect import Collected, collect
from sli.maintenance.removal import Removable
from sli.planning.tasks import size_text
from sli.reading.figures import counted

KINDS = {
    "replaced": "replaced longer ago than `keep_files`",
    "log": "of the table's log",
    "left_over": "left over from killed runs",
}


def gc_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Remove what nobody needs any more, and say what that was. Raises SliError."""
    began = time.monotonic()
    done = collect(config, options.dry_run)
    would = "would be " * options.dry_run
    total = (
        f"{counted(done.files, 'file')} {would}removed, {size_text(done.bytes)}" if done.files else "nothing to remove"
    )
    lines = [
        *(f"{name or 'all tables'}: {_text(removable)}" for name, removable in done.removed.items() if len(removable)),
        *(f"{name}: small files {would}merged, {counted(more, 'file')} fewer" for name, more in done.merged.items()),
        *([f"revisions: {counted(done.thinned, 'row')} older than `history` {would}removed"] if done.thinned else []),
        f"{total} ({time.monotonic() - began:.1f} s)",
    ]
    return Answer(
        lines=lambda: lines,
        plain=lambda: _plain(done, options.dry_run),
        cells=lambda: {"files": f"{done.files:,}", "size": size_text(done.bytes), "outcome": f"{would}removed"},
    )


def _text(removable: Removable) -> str:
    kinds = ((getattr(removable, kind), what) for kind, what in KINDS.items())
    parts = [
        f"{counted(len(files), 'file')} {what} ({size_text(sum(files.values()))})" for files, what in kinds if files
    ]
    return ", ".join(parts)


def _plain(done: Collected, dry_run: bool) -> dict[str, object]:
    removed = {
        name: {kind: {"files": len(files := getattr(removable, kind)), "bytes": sum(files.values())} for kind in KINDS}
        for name, removable in done.removed.items()
    }
    left_over = removed.pop("", {}).get("left_over", {"files": 0, "bytes": 0})
    return {
        "dry_run": dry_run,
        "files": done.files,
        "bytes": done.bytes,
        "tables": {name: {kind: kinds[kind] for kind in ("replaced", "log")} for name, kinds in removed.items()},
        "left_over": left_over,
        "merged": dict(done.merged),
        "thinned": done.thinned,
    }
