"""The command `sli`. Limit: it formats and exits; everything it does is a call of the library."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sli.command.bars import Bars
from sli.engine.interrupts import delivered
from sli.errors import ConfigError, SliError
from sli.masking import masked, masked_tree
from sli.slis.custom.trust import no_code

EPILOG = """\
exit codes:
  0  done, also when nothing had to be done
  2  the config or an argument is wrong; nothing was done
  3  done, but this run set bad input aside, found many rows in conflict, or a Python SLI failed
     (see `sli show CONFIG --table audit`); or no feedback can be used
  4  failed; nothing was published, or no more of a backfill than it said
  5  verify found rows that differ from a recomputation

Times are ISO 8601; without a zone they are read in the config's time zone. Intervals are [start, end)."""
BAD_INPUT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.began = time.monotonic()
    try:
        with delivered(), no_code(getattr(given, "no_code", False)):
            return int(given.command(given))
    except SliError as error:
        if getattr(given, "json", False):
            print(json.dumps({"error": error.to_dict()}))
        else:
            print(f"sli: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        chunks = "; chunks it published stay, and the same command goes on" if given.command is _backfill else ""
        print(f"sli: interrupted; nothing unpublished is visible{chunks}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sli",
        description="How good was the model really: service-level indicators from predictions and late feedback.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, call: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text.split(".")[0],
            description=text,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=call)
        return made

    run = command("run", _run, "Bring the tables up to date with the logs.")
    backfill = command(
        "backfill",
        _backfill,
        "Recompute the hours of an interval from the logs, final ones too, and show what changed. "
        "After an interruption the same command goes on where it stopped.",
    )
    plan = command("plan", _plan, "Print what run would do and why. Reads listings and file footers, writes nothing.")
    show = command("show", _show, "Print results as a table and, on a terminal, a plot.")
    query = command(
        "query",
        _query,
        "Print an SLI over any windows and slices, merged from the published tiles. Reads no logs.",
    )
    slices = command(
        "slices",
        _slices,
        "List the slices that lie furthest on the bad side of the whole. Reads no logs.",
    )
    verify = command(
        "verify",
        _verify,
        "Recompute windows from the raw logs with plain pandas and compare. Exit code 5 if any differs.",
    )
    for each in (run, backfill, plan, show, query, slices, verify):
        each.add_argument("config", metavar="CONFIG", help="the YAML config")
        each.add_argument(
            "--set",
            dest="settings",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a key, such as horizon=2d",
        )
        each.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        each.add_argument(
            "--no-code",
            action="store_true",
            help="run no Python that the config names, as SLI_NO_CODE=1 does; results can still be read",
        )
    for each in (run, backfill, plan):
        each.add_argument("--as-of", metavar="TIME", help="use only what was known then (default: now)")
    for each in (run, plan):
        each.add_argument(
            "--look-back",
            metavar="LENGTH",
            help="only recompute stale hours of the last LENGTH, such as 1d; older ones wait for a run without it",
        )
        each.add_argument(
            "--future",
            action="store_true",
            help="allow an --as-of in the future; run does so only in a store where nothing is published as of today",
        )
    run.add_argument(
        "--undo-future",
        action="store_true",
        help="first take back what was published as of a time in the future",
    )
    _backfill_arguments(backfill)
    _show_arguments(show)
    _query_arguments(query)
    slices.add_argument("--sli", metavar="NAME", help="which SLI (default: the first that has a better direction)")
    slices.add_argument("--start", metavar="TIME", help="begin of the time looked at (default: since)")
    slices.add_argument("--end", metavar="TIME", help="its end, not included (default: the newest hour's end)")
    slices.add_argument(
        "--support", type=_natural, default=30, metavar="N", help="labelled predictions a slice needs (default: 30)"
    )
    slices.add_argument(
        "--rows", type=_natural, metavar="N", help="how many to list (default: 10; with --json all of them)"
    )
    verify.add_argument(
        "--windows",
        type=_natural,
        default=50,
        metavar="N",
        help="how many windows to check, chosen by content (default: 50; 0: all)",
    )
    init = command("init", _init, "Write a commented config by looking at your Parquet files.")
    init.add_argument("config", metavar="CONFIG", help="the file to write")
    init.add_argument("--predictions", required=True, metavar="PATH", help="folder, file or URL of the predictions log")
    init.add_argument("--feedback", required=True, metavar="PATH", help="folder, file or URL of the feedback log")
    init.add_argument("--store", default="./results", metavar="PATH", help="where results go (default: ./results)")
    init.add_argument("--timezone", default="UTC", metavar="ZONE", help="whose days to count (default: UTC)")
    demo = command(
        "demo", _demo, "Run the job on real data: flights out of New York, or taxi rides you have as TLC Parquet files."
    )
    demo.add_argument("which", nargs="?", choices=("flights", "taxi"), default="flights")
    demo.add_argument("--folder", metavar="PATH", help="where to work (default: ./demo-flights or ./demo-taxi)")
    demo.add_argument(
        "--source",
        metavar="URL",
        help="taxi: folder, file or URL of TLC yellow-taxi Parquet files that include January 2020",
    )
    return parser


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 up")
    return int(text)


def _backfill_arguments(backfill: argparse.ArgumentParser) -> None:
    backfill.add_argument("--start", required=True, metavar="TIME", help="first hour")
    backfill.add_argument("--end", required=True, metavar="TIME", help="end, not included")
    backfill.add_argument(
        "--sli", action="append", default=[], metavar="NAME", help="only compute what this SLI lacks there; repeatable"
    )
    backfill.add_argument("--chunk", metavar="DAYS", help="publish after so many days, such as 30d (default: by bytes)")
    backfill.add_argument("--dry-run", action="store_true", help="list chunks, windows and reasons; write nothing")


def _show_arguments(show: argparse.ArgumentParser) -> None:
    show.add_argument("--sli", action="append", metavar="NAME", help="which SLIs, the plotted one first (default: all)")
    show.add_argument(
        "--grain", default=None, metavar="GRAIN", help="hour, day, week, month, cumulative or SIZE/EVERY (default: day)"
    )
    show.add_argument("--start", metavar="TIME", help="windows that end after it; of runs, those as of then or later")
    show.add_argument("--end", metavar="TIME", help="windows that start before it; of runs, those as of before it")
    show.add_argument("--slice", action="append", metavar="COLUMN=VALUE", help="one slice; repeat for crossed ones")
    show.add_argument("--by", metavar="COLUMN[,COLUMN]", help="all slices of these columns (default: the whole)")
    show.add_argument("--as-of", metavar="TIME", help="what was known then")
    show.add_argument(
        "--rows",
        type=_natural,
        metavar="N",
        help="how many newest windows, runs, changes or checks to list (default: 14; with --json all)",
    )
    show.add_argument(
        "--table",
        choices=("results", "revisions", "audit", "runs", "backfills"),
        default="results",
        help="which table (default: results); revisions and backfills: newest run first, its largest change first",
    )


def _query_arguments(query: argparse.ArgumentParser) -> None:
    query.add_argument("sli", metavar="SLI", help="one of the config, or a built-in one that needs no other states")
    query.add_argument("--size", metavar="LENGTH", help="length of a window, such as 6h or 7d (default: all the time)")
    query.add_argument("--every", metavar="LENGTH", help="how far apart windows start (default: the size)")
    query.add_argument("--start", metavar="TIME", help="where the first window starts (default: since)")
    query.add_argument("--end", metavar="TIME", help="where the last one ends at most (default: the newest hour's end)")
    query.add_argument("--slice", action="append", metavar="COLUMN=VALUE", help="one slice; repeat for crossed ones")
    query.add_argument("--by", metavar="COLUMN[,COLUMN]", help="all slices of these columns (default: the whole)")
    query.add_argument("--values", action="store_true", help="how often each value occurs in what the SLI keeps")
    query.add_argument(
        "--rows",
        type=_natural,
        metavar="N",
        help="how many newest windows, or values, to list (default: 14; with --json all)",
    )


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(masked(line))


def _run(given: argparse.Namespace) -> int:
    from sli.command import plain as digest
    from sli.command import text as report
    from sli.config.load import load_config
    from sli.runs.recompute import run

    config = load_config(given.config, given.settings)
    asked = {"as_of": given.as_of, "look_back": given.look_back, "future": given.future}
    with Bars() as progress:
        outcome = run(config, **asked, undo_future=given.undo_future, progress=progress)
    if given.json:
        seconds = {"seconds": time.monotonic() - given.began}
        print(json.dumps(masked_tree(digest.outcome_dict(outcome) | seconds)))
    else:
        _say(report.outcome_lines(outcome, config, given.began))
    return _warned(given, report.warning_lines(outcome))


def _warned(given: argparse.Namespace, warnings: Sequence[str]) -> int:
    if not given.json:
        for line in warnings:
            print(f"sli: {masked(line)}", file=sys.stderr)
    return BAD_INPUT if warnings else 0


def _backfill(given: argparse.Namespace) -> int:
    from sli.command import plain as digest
    from sli.command import text as report
    from sli.config.load import load_config
    from sli.runs.backfill import backfill, plan_backfill

    config = load_config(given.config, given.settings)
    asked = {"start": given.start, "end": given.end, "sli": given.sli, "chunk": given.chunk, "as_of": given.as_of}
    if given.dry_run:
        chosen = plan_backfill(config, **asked)
        if given.json:
            print(json.dumps(digest.backfill_plan_dict(chosen)))
        else:
            _say(report.backfill_plan_lines(chosen, config))
        return 0

    def done(number: int, of: int, outcome: Any) -> None:
        if not given.json:
            print(report.chunk_line(number, of, outcome), flush=True)

    with Bars() as progress:
        outcome = backfill(config, **asked, progress=progress, done=done)
    if given.json:
        seconds = {"seconds": time.monotonic() - given.began}
        print(json.dumps(masked_tree(digest.backfill_dict(outcome) | seconds)))
    else:
        _say(report.backfill_lines(outcome, config, given.began))
    return _warned(given, [*dict.fromkeys(line for each in outcome.runs for line in report.warning_lines(each))])


def _plan(given: argparse.Namespace) -> int:
    from sli.command import text as report
    from sli.config.load import load_config
    from sli.runs.preview import expected_results, plan

    config = load_config(given.config, given.settings)
    made = plan(config, as_of=given.as_of, look_back=given.look_back, future=given.future)
    found = None if made.empty else expected_results(config, made)
    if given.json:
        print(json.dumps({**made.to_dict(), "expected": found and found.to_dict()}))
    else:
        _say(report.plan_lines(made, config) + (report.expected_lines(found, config) if found else []))
    return 0


def _show(given: argparse.Namespace) -> int:
    from sli.command import tables as shown
    from sli.command.grid import terminal_width
    from sli.config.load import load_config

    config = load_config(given.config, given.settings)
    frame = _asked(given, config)
    rows, width = shown.ROWS if given.rows is None else given.rows, terminal_width()
    if given.table == "results" and given.rows is not None and given.json:
        frame = shown.newest(frame, given.rows)
    elif given.table in ("revisions", "backfills"):
        frame = shown.changes(frame, given.rows if given.json else rows)
    elif given.table == "runs":
        frame = frame.tail(rows) if given.rows is not None or not given.json else frame
    elif given.table == "audit" and given.json:
        frame = shown.audit_rows(frame, given.rows)
    if given.json:
        print(_records(frame))
    elif given.table == "audit":
        _say(shown.audit_lines(frame, rows, width))
    elif frame.empty:
        sets = ", ".join("all" if not each else " x ".join(each) for each in config.slice_sets)
        print(f"no such windows; the slices of this config are: {sets}" if given.table == "results" else "no such rows")
    elif given.table == "results":
        names = given.sli or [each.name for each in config.declared]
        _say(shown.results(frame, config, names, rows, width))
    else:
        _say(shown.run_lines(frame, width) if given.table == "runs" else shown.change_lines(frame, config, width))
    return 0


def _asked(given: argparse.Namespace, config: Any) -> Any:
    """The rows that `show` was asked for, as a frame. Raises SliError."""
    from sli.reading.read import check_windowless, read, standing_audit

    grain, by = given.grain, given.by.split(",") if given.by else None
    slices = _slice(given.slice) if given.slice else None
    if given.table == "audit":
        choices = {"sli": given.sli, "grain": grain, "slice": slices, "by": by, "start": given.start, "end": given.end}
        check_windowless("audit", choices, "as_of")
        return standing_audit(config, given.as_of)
    if given.table == "results":
        names = [each.name for each in config.all_grains]
        grain = grain or ("day" if "day" in names else names[0])
        by = list(config.slice_sets[0]) if by is None and slices is None else by
    within = {"start": given.start, "end": given.end, "as_of": given.as_of}
    return read(config, sli=given.sli, grain=grain, slice=slices, slice_by=by, table=given.table, **within)


def _query(given: argparse.Namespace) -> int:
    from sli.command import tables as shown
    from sli.command.grid import terminal_width
    from sli.config.load import load_config
    from sli.reading.query import distribution, query

    config = load_config(given.config, given.settings)
    frame = (distribution if given.values else query)(
        config,
        given.sli,
        size=given.size,
        every=given.every,
        start=given.start,
        end=given.end,
        slice=_slice(given.slice) if given.slice else None,
        slice_by=given.by.split(",") if given.by else None,
    )
    rows, width = shown.ROWS if given.rows is None else given.rows, terminal_width()
    if given.json:
        if given.rows is not None:
            frame = (shown.most_common if given.values else shown.newest)(frame, rows)
        print(_records(frame))
    elif frame.empty:
        print("no predictions in these windows and slices")
    elif given.values:
        _say(shown.values(frame, config, rows, width))
    else:
        _say(shown.query(frame, config, given.sli, rows, width))
    return 0


def _slices(given: argparse.Namespace) -> int:
    from sli.command import tables as shown
    from sli.command.grid import terminal_width
    from sli.config.load import load_config
    from sli.reading.compare import compare_slices

    config = load_config(given.config, given.settings)
    frame = compare_slices(config, given.sli, start=given.start, end=given.end, support=given.support)
    if given.json:
        print(_records(frame if given.rows is None else frame.head(given.rows)))
    elif frame.empty:
        print(f"no slice has {given.support} labelled predictions there")
    else:
        _say(shown.slices(frame, 10 if given.rows is None else given.rows, terminal_width()))
    return 0


def _records(frame: Any) -> str:
    """A frame as JSON, to the last digit; times as ISO 8601, NaN as null."""

    def plain(value: Any) -> Any:
        if hasattr(value, "isoformat"):
            return None if value != value else value.isoformat()
        if isinstance(value, float) and value != value:
            return None
        return value.tolist() if hasattr(value, "tolist") else value

    rows = [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    return json.dumps(masked_tree(rows), default=list)


def _slice(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for each in given:
        column, equals, value = each.partition("=")
        if not equals:
            raise ConfigError("a slice is COLUMN=VALUE", where="--slice", found=each)
        found[column] = value
    return found


def _verify(given: argparse.Namespace) -> int:
    from sli.reading.verify import verify

    found = verify(given.config, windows=given.windows or None, settings=given.settings)
    if given.json:
        print(json.dumps(found.to_dict()))
    else:
        _say(found.lines())
    return 0 if found.equal else 5


def _init(given: argparse.Namespace) -> int:
    from sli.command.init import write_config

    _say(write_config(Path(given.config), given.predictions, given.feedback, given.store, given.timezone))
    return 0


def _demo(given: argparse.Namespace) -> int:
    from sli.command.demo.show import demo

    demo(given.which, given.folder, given.source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
