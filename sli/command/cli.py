"""The command `sli`. Limit: it formats and exits; everything it does is a call of the library."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sli.command.arguments import parser
from sli.command.bars import Bars
from sli.engine.interrupts import signals_first
from sli.errors import ConfigError, SliError
from sli.masking import masked, masked_tree
from sli.slis.custom.trust import no_code

if TYPE_CHECKING:
    import pandas as pd

    from sli.config.model import Config
    from sli.runs.outcome import Outcome

WARNED = 3
DIFFERENT = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    began = time.monotonic()
    # `init` and `demo` lack the options of the others.
    options = parser().parse_args(arguments, argparse.Namespace(began=began, json=False, no_code=False))
    try:
        with signals_first(), no_code(options.no_code):
            return COMMANDS[options.command](options)
    except SliError as error:
        if options.json:
            print(json.dumps({"error": error.to_dict()}))
        else:
            print(f"sli: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        parts = (
            "; parts already published stay, and the same command continues" if options.command == "backfill" else ""
        )
        print(f"sli: interrupted; nothing unpublished is visible{parts}", file=sys.stderr)
        return 130


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(masked(line))


def _run(options: argparse.Namespace) -> int:
    from sli.command.plain import outcome_dict
    from sli.command.text import outcome_lines, warning_lines
    from sli.config.load import load_config
    from sli.runs.recompute import run

    config = load_config(options.config, options.settings)
    with Bars() as progress:
        outcome = run(
            config,
            as_of=options.as_of,
            look_back=options.look_back,
            future=options.future,
            undo_future=options.undo_future,
            progress=progress,
        )
    if options.json:
        seconds = {"seconds": time.monotonic() - options.began}
        print(json.dumps(masked_tree(outcome_dict(outcome) | seconds)))
    else:
        _print(outcome_lines(outcome, config.declared, config.all_grains, config.timezone, options.began))
    return _print_warnings(options, warning_lines(outcome))


def _print_warnings(options: argparse.Namespace, warnings: Sequence[str]) -> int:
    if not options.json:
        for line in warnings:
            print(f"sli: {masked(line)}", file=sys.stderr)
    return WARNED if warnings else 0


def _backfill(options: argparse.Namespace) -> int:
    from sli.command.plain import backfill_dict, backfill_plan_dict
    from sli.command.text import backfill_lines, backfill_plan_lines, part_line, warning_lines
    from sli.config.load import load_config
    from sli.runs.backfill import backfill, plan_backfill

    config = load_config(options.config, options.settings)
    request = {
        "start": options.start,
        "end": options.end,
        "sli": options.sli,
        "chunk": options.chunk,
        "as_of": options.as_of,
    }
    if options.dry_run:
        planned = plan_backfill(config, **request)
        if options.json:
            print(json.dumps(backfill_plan_dict(planned)))
        else:
            _print(backfill_plan_lines(planned, config.declared, config.timezone))
        return 0

    def print_part(number: int, parts: int, outcome: Outcome) -> None:
        if not options.json:
            print(part_line(number, parts, outcome), flush=True)

    with Bars() as progress:
        outcome = backfill(config, **request, progress=progress, done=print_part)
    if options.json:
        seconds = {"seconds": time.monotonic() - options.began}
        print(json.dumps(masked_tree(backfill_dict(outcome) | seconds)))
    else:
        _print(backfill_lines(outcome, config.all_grains, config.timezone, options.began))
    return _print_warnings(options, [*dict.fromkeys(line for run in outcome.runs for line in warning_lines(run))])


def _plan(options: argparse.Namespace) -> int:
    from sli.command.text import expected_lines, plan_lines
    from sli.config.load import load_config
    from sli.runs.preview import expected_results, plan

    config = load_config(options.config, options.settings)
    planned = plan(config, as_of=options.as_of, look_back=options.look_back, future=options.future)
    expected = None if planned.empty else expected_results(config, planned)
    if options.json:
        print(json.dumps({**planned.to_dict(), "expected": expected and expected.to_dict()}))
    else:
        lines = plan_lines(planned, config.id_columns, config.all_grains)
        _print(lines + (expected_lines(expected, config.slice_sets) if expected else []))
    return 0


def _show(options: argparse.Namespace) -> int:
    from sli.command.grid import terminal_width
    from sli.command.tables import ROWS, audit_lines, change_lines, result_lines, run_lines
    from sli.config.load import load_config

    config = load_config(options.config, options.settings)
    frame = _shown_rows(options, config)
    rows, width = ROWS if options.rows is None else options.rows, terminal_width()
    if options.json:
        print(_records(frame))
    elif options.table == "audit":
        _print(audit_lines(frame, rows, width))
    elif frame.empty:
        sets = ", ".join("all" if not columns else " x ".join(columns) for columns in config.slice_sets)
        print(
            f"no such windows; the slices of this config are: {sets}" if options.table == "results" else "no such rows"
        )
    elif options.table == "results":
        slis = options.sli or [sli.name for sli in config.declared]
        _print(result_lines(frame, slis, rows, width, model=config.model, timezone=config.timezone, caps=config.caps))
    else:
        _print(run_lines(frame, width) if options.table == "runs" else change_lines(frame, config.timezone, width))
    return 0


def _shown_rows(options: argparse.Namespace, config: Config) -> pd.DataFrame:
    """The rows for `show`, cut to `--rows`; as text, results and audit are cut later, when they are printed."""
    from sli.command.tables import ROWS, audit_rows, changes, newest

    frame, rows = _all_rows(options, config), options.rows
    if options.table == "results":
        return newest(frame, rows) if rows is not None and options.json else frame
    if options.table == "audit":
        return audit_rows(frame, rows) if options.json else frame
    limit = ROWS if rows is None and not options.json else rows
    if options.table == "runs":
        return frame if limit is None else frame.tail(limit)
    return changes(frame, limit)


def _all_rows(options: argparse.Namespace, config: Config) -> pd.DataFrame:
    """All rows that the options of `show` choose. Raises SliError."""
    from sli.reading.read import check_windowless, read, standing_audit

    grain, by = options.grain, options.by.split(",") if options.by else None
    slice = _slice(options.slice) if options.slice else None
    if options.table == "audit":
        choices = {
            "sli": options.sli,
            "grain": grain,
            "slice": slice,
            "by": by,
            "start": options.start,
            "end": options.end,
        }
        check_windowless("audit", choices, "as_of")
        return standing_audit(config, options.as_of)
    if options.table == "results":
        names = [grain.name for grain in config.all_grains]
        grain = grain or ("day" if "day" in names else names[0])
        by = list(config.slice_sets[0]) if by is None and slice is None else by
    within = {"start": options.start, "end": options.end, "as_of": options.as_of}
    return read(config, sli=options.sli, grain=grain, slice=slice, slice_by=by, table=options.table, **within)


def _query(options: argparse.Namespace) -> int:
    from sli.command.grid import terminal_width
    from sli.command.tables import ROWS, most_common, newest, query_lines, value_lines
    from sli.config.load import load_config
    from sli.reading.query import distribution, query

    config = load_config(options.config, options.settings)
    frame = (distribution if options.values else query)(
        config,
        options.sli,
        size=options.size,
        every=options.every,
        start=options.start,
        end=options.end,
        slice=_slice(options.slice) if options.slice else None,
        slice_by=options.by.split(",") if options.by else None,
    )
    rows, width = ROWS if options.rows is None else options.rows, terminal_width()
    if options.json:
        if options.rows is not None:
            frame = (most_common if options.values else newest)(frame, rows)
        print(_records(frame))
    elif frame.empty:
        print("no predictions in these windows and slices")
    elif options.values:
        _print(value_lines(frame, config.timezone, rows, width))
    else:
        _print(query_lines(frame, config, options.sli, rows, width))
    return 0


def _slices(options: argparse.Namespace) -> int:
    from sli.command.grid import terminal_width
    from sli.command.tables import slice_lines
    from sli.config.load import load_config
    from sli.reading.compare import compare_slices

    config = load_config(options.config, options.settings)
    frame = compare_slices(config, options.sli, start=options.start, end=options.end, support=options.support)
    if options.json:
        print(_records(frame if options.rows is None else frame.head(options.rows)))
    elif frame.empty:
        print(f"no slice has {options.support} labelled predictions in this time")
    else:
        _print(slice_lines(frame, 10 if options.rows is None else options.rows, terminal_width()))
    return 0


def _records(frame: pd.DataFrame) -> str:
    """A frame as JSON with all digits; times as ISO 8601, NaN as null."""

    def plain(value: object) -> object:
        if hasattr(value, "isoformat"):
            return None if value != value else value.isoformat()
        if isinstance(value, float) and value != value:
            return None
        return value.tolist() if hasattr(value, "tolist") else value

    rows = [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    return json.dumps(masked_tree(rows), default=list)


def _slice(options: Sequence[str]) -> dict[str, str]:
    """The slice of `--slice COLUMN=VALUE` options. Raises ConfigError."""
    slice = {}
    for option in options:
        column, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(
                "this is not a slice", where="--slice", expected="COLUMN=VALUE, for example origin=JFK", found=option
            )
        slice[column] = value
    return slice


def _verify(options: argparse.Namespace) -> int:
    from sli.reading.verify import verify

    verification = verify(options.config, windows=options.windows or None, settings=options.settings)
    if options.json:
        print(json.dumps(verification.to_dict()))
    else:
        _print(verification.lines())
    return 0 if verification.equal else DIFFERENT


def _init(options: argparse.Namespace) -> int:
    from sli.command.init import write_config

    _print(write_config(Path(options.config), options.predictions, options.feedback, options.store, options.timezone))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from sli.command.demo.show import demo

    demo(options.which, options.folder, options.source)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _plan,
    "backfill": _backfill,
    "show": _show,
    "query": _query,
    "slices": _slices,
    "verify": _verify,
    "init": _init,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
