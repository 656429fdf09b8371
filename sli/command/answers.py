"""What `run`, `plan`, `backfill` and `verify` answer for one config: as lines, or as plain values for `--json`.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sli.config.model import Config
from sli.errors import DIFFERENT, WARNED

if TYPE_CHECKING:
    from sli.reading.rows import Rows
    from sli.runs.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command says about one config."""

    lines: Callable[[], Sequence[str]]
    plain: Callable[[], object]
    """With `--json`, instead of the lines: only one of both is made."""
    rows: Callable[[], Rows] | None = None
    """With `--format`, instead of the lines; None: this command has no such option."""
    warnings: Sequence[str] = ()
    exit_code: int = 0
    cells: Callable[[], Mapping[str, str]] = dict
    """The columns of its row in the table of several models; `outcome` is the last."""


def run_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Run, and say what changed. Raises SliError."""
    from sli.command.bars import Bars
    from sli.command.exporting import failure_told
    from sli.command.plain import outcome_dict
    from sli.command.text import outcome_lines, warning_lines
    from sli.export.after import export_published
    from sli.runs.recompute import run

    with failure_told(config), Bars() as progress:
        outcome = run(
            config,
            as_of=options.as_of,
            look_back=options.look_back,
            future=options.future,
            undo_future=options.undo_future,
            full_listing=options.full_listing,
            progress=progress,
        )
    not_sent = export_published(config, [outcome])
    warnings = [*warning_lines(outcome), *not_sent]
    return Answer(
        plain=lambda: outcome_dict(outcome) | _told(options, not_sent),
        lines=lambda: outcome_lines(outcome, config, options.began),
        warnings=warnings,
        exit_code=WARNED if warnings else 0,
        cells=lambda: run_cells(config, outcome, warnings),
    )


def _told(options: argparse.Namespace, not_sent: Sequence[str]) -> dict[str, object]:
    """What the command adds to a run as plain values: how long it took in all, and what no sink got."""
    return {"seconds": time.monotonic() - options.began, **({"not_exported": list(not_sent)} if not_sent else {})}


def run_cells(config: Config, outcome: Outcome, warnings: Sequence[str]) -> dict[str, str]:
    """The row of a model that ran, in the table of several. Raises SliError."""
    from sli.command.standing import summary_cells
    from sli.command.text import outcome_word
    from sli.judging.standing import standing
    from sli.reading.publication import newest_or_none

    changed = {"hours": f"{outcome.tiles:,}", "results": f"{outcome.changes.changed:,}"}
    now = {} if newest_or_none(config) is None else summary_cells(standing(config))
    return changed | now | {"outcome": outcome_word(outcome, warnings)}


def plan_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Say what a run would do. Raises SliError."""
    from sli.command.idle import NOTHING_TO_DO
    from sli.command.text import expected_lines, kept_lines, plan_lines
    from sli.planning.tasks import size_text
    from sli.runs.preview import expected_results, kept_rows, plan

    chosen = {name: getattr(options, name) for name in ("as_of", "look_back", "future", "full_listing")}
    planned = plan(config, **chosen)
    expected = None if planned.empty else expected_results(config, planned)
    kept = kept_rows(config, planned)

    def lines() -> list[str]:
        results = expected_lines(expected, config.slice_sets) if expected else []
        return plan_lines(planned, config) + kept_lines(kept) + results

    def cells() -> dict[str, str]:
        work = {"hours": f"{planned.tiles:,}", "reading": size_text(planned.bytes)}
        most = {"results at most": f"{expected.results if expected else 0:,}"}
        return work | most | {"outcome": NOTHING_TO_DO.partition(":")[0] if planned.empty else "to run"}

    rows = {"where": [asdict(log) for log in kept]} if kept else {}
    return Answer(
        plain=lambda: {**planned.to_dict(), "expected": expected and expected.to_dict(), **rows},
        lines=lines,
        cells=cells,
    )


def backfill_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Recompute an interval and tell of each part once it is published, or say what that would do. Raises SliError."""
    from sli.command.bars import Bars
    from sli.command.exporting import failure_told
    from sli.command.plain import backfill_dict, backfill_plan_dict
    from sli.command.text import backfill_lines, backfill_plan_lines, part_line, warning_lines
    from sli.export.after import export_published
    from sli.runs.backfill import backfill, plan_backfill

    request = {name: getattr(options, name) for name in ("start", "end", "sli", "chunk", "as_of")}
    if options.dry_run:
        planned = plan_backfill(config, **request)
        return Answer(plain=lambda: backfill_plan_dict(planned), lines=lambda: backfill_plan_lines(planned))

    def print_part(number: int, parts: int, outcome: Outcome) -> None:
        if not options.json:
            print(part_line(number, parts, outcome), flush=True)

    with failure_told(config), Bars() as progress:
        outcome = backfill(config, **request, progress=progress, done=print_part)
    not_sent = export_published(config, outcome.runs)
    warnings = [*dict.fromkeys(line for run in outcome.runs for line in warning_lines(run)), *not_sent]
    return Answer(
        plain=lambda: backfill_dict(outcome) | _told(options, not_sent),
        lines=lambda: backfill_lines(outcome, config, options.began),
        warnings=warnings,
        exit_code=WARNED if warnings else 0,
    )


def verify_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Whether published windows equal a recomputation. Raises SliError."""
    from sli.reading.figures import counted
    from sli.reading.verify import verify

    verification = verify(config, windows=options.windows or None)

    def cells() -> dict[str, str]:
        compared = {"windows": f"{verification.windows:,}", "results": f"{verification.rows:,}"}
        different = f"{counted(len(verification.differences), 'result')} differ"
        return compared | {"outcome": "all equal" if verification.equal else different}

    return Answer(
        plain=verification.to_dict,
        lines=verification.lines,
        exit_code=0 if verification.equal else DIFFERENT,
        cells=cells,
    )
