"""The command `sli`. Limit: it formats and exits; everything it does is a call of the library."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sli.command.arguments import parser, slice_of
from sli.command.bars import Bars
from sli.command.output import print_json, print_lines, print_warnings
from sli.engine.interrupts import signals_first
from sli.errors import WARNED, SliError
from sli.slis.custom.trust import no_code

if TYPE_CHECKING:
    from sli.runs.outcome import Outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    # `init` and `demo` lack the options of the others.
    options = argparse.Namespace(began=time.monotonic(), json="--json" in given, no_code=False)
    try:
        if not given:
            parser().print_help()
            return 0
        options = parser().parse(given, options)
        with signals_first(), no_code(options.no_code):
            return COMMANDS[options.command](options)
    except SliError as error:
        if options.json:
            print_json({"error": error.to_dict()})
        else:
            print(f"sli: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        from sli.config.several import are_several

        parts = "; parts already published stay, and the same command continues" * (options.command == "backfill")
        models = "; models already published stay" * (options.command == "run" and are_several(options.configs))
        print(f"sli: interrupted; nothing unpublished is visible{parts}{models}", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from sli.command.answers import run_answer
    from sli.command.models import print_answers

    return print_answers(options, run_answer)


def _plan(options: argparse.Namespace) -> int:
    from sli.command.answers import plan_answer
    from sli.command.models import print_answers

    return print_answers(options, plan_answer)


def _show(options: argparse.Namespace) -> int:
    from sli.command.models import print_answers
    from sli.command.shown import show_answer

    return print_answers(options, show_answer)


def _serve(options: argparse.Namespace) -> int:
    from sli.command.serving import serve

    return serve(options)


def _report(options: argparse.Namespace) -> int:
    from sli.command.reporting import report

    return report(options)


def _verify(options: argparse.Namespace) -> int:
    from sli.command.answers import verify_answer
    from sli.command.models import print_answers

    return print_answers(options, verify_answer)


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
            print_json(backfill_plan_dict(planned))
        else:
            print_lines(backfill_plan_lines(planned))
        return 0

    def print_part(number: int, parts: int, outcome: Outcome) -> None:
        if not options.json:
            print(part_line(number, parts, outcome), flush=True)

    with Bars() as progress:
        outcome = backfill(config, **request, progress=progress, done=print_part)
    if options.json:
        seconds = {"seconds": time.monotonic() - options.began}
        print_json(backfill_dict(outcome) | seconds)
    else:
        print_lines(backfill_lines(outcome, config, options.began))
    warnings = [*dict.fromkeys(line for run in outcome.runs for line in warning_lines(run))]
    if not options.json:
        print_warnings(warnings)
    return WARNED if warnings else 0


def _query(options: argparse.Namespace) -> int:
    from sli.command.grid import terminal_width
    from sli.command.results import ROWS, newest
    from sli.command.tables import most_common, query_lines, records, value_lines
    from sli.config.load import load_config
    from sli.reading.publication import opened
    from sli.reading.query import distribution, query
    from sli.reading.slice_values import check_slice

    config = load_config(options.config, options.settings)
    frame = (distribution if options.values else query)(
        config,
        options.sli,
        size=options.size,
        every=options.every,
        start=options.start,
        end=options.end,
        slice=slice_of(options.slice) if options.slice else None,
        slice_by=options.by.split(",") if options.by else None,
        as_of=options.as_of,
    )
    if frame.empty and options.slice:
        check_slice(opened(config, options.as_of), slice_of(options.slice))
    rows, width = ROWS if options.rows is None else options.rows, terminal_width()
    if options.json:
        if options.rows is not None:
            frame = (most_common if options.values else newest)(frame, rows)
        print_json(records(frame))
    elif frame.empty:
        print("no predictions in these windows and slices")
    elif options.values:
        print_lines(value_lines(frame, config, options.sli, rows, width))
    else:
        print_lines(query_lines(frame, config, options.sli, rows, width))
    return 0


def _slices(options: argparse.Namespace) -> int:
    from sli.command.grid import terminal_width
    from sli.command.tables import records, slice_lines
    from sli.config.load import load_config
    from sli.judging.compare import compare_slices
    from sli.judging.since_when import since_when

    config = load_config(options.config, options.settings)
    frame = compare_slices(config, options.sli, start=options.start, end=options.end, support=options.support)
    if options.json:
        print_json(records(frame if options.rows is None else frame.head(options.rows)))
    elif frame.empty:
        print(f"no slice has {options.support} labelled predictions in this time")
    else:
        whole = since_when(config, frame.sli.iloc[0], end=options.end)
        rows = 10 if options.rows is None else options.rows
        print_lines(slice_lines(frame, whole, config, rows, terminal_width()))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sli.command.compared import comparison_lines
    from sli.command.grid import terminal_width
    from sli.config.load import load_config
    from sli.reading.difference import compare

    config = load_config(options.config, options.settings)
    by, _, values = options.slices.partition("=")
    within = {"pair": options.pair, "start": options.start, "end": options.end}
    with Bars() as progress:
        done = functools.partial(progress, "matching")
        comparison = compare(config, options.sli, {by: values.split(",")}, **within, progress=done)
    if options.json:
        print_json(comparison.to_dict())
    else:
        print_lines(comparison_lines(comparison, config, terminal_width()))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from sli.config.load import load_config
    from sli.judging.explain import explain

    explanation = explain(
        load_config(options.config, options.settings),
        options.sli,
        slice=slice_of(options.slice) if options.slice else None,
        start=options.start,
        end=options.end,
        against=options.against,
        as_of=options.as_of,
    )
    if options.json:
        print_json(explanation.to_dict())
    else:
        print_lines(explanation.lines())
    return 0


def _init(options: argparse.Namespace) -> int:
    from sli.command.init import planned, write_config

    path, feedback = Path(options.config), options.feedback or options.predictions
    print_lines(write_config(path, options.predictions, feedback, options.store, options.timezone))
    try:
        print_lines(planned(path))
    except SliError as error:
        print(f"sli: {path} is written, but a run with it would fail:\n{error}", file=sys.stderr)
        return error.exit_code
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
    "compare": _compare,
    "explain": _explain,
    "report": _report,
    "serve": _serve,
    "verify": _verify,
    "init": _init,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
