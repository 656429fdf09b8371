"""The options of the subcommands of `sli`, and their help: a function for those that go together.

Limit: it only parses; what depends on the config (SLIs, grains, slices, times) is checked by the library.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sli.errors import ConfigError


def natural(text: str) -> int:
    """A number of the command line. Raises ArgumentTypeError."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, found '{text}'")
    return int(text)


def slice_of(options: Sequence[str]) -> dict[str, str]:
    """The slice of `--slice COLUMN=VALUE` options. Raises ConfigError."""
    slice: dict[str, str] = {}
    for option in options:
        column, equals, value = option.partition("=")
        if not equals or not column:
            raise ConfigError(
                "this is not a slice", where="--slice", expected="COLUMN=VALUE, for example origin=JFK", found=option
            )
        if column in slice:
            raise ConfigError(
                f"a slice has one value of {column}",
                where="--slice",
                found=f"{column}={slice[column]} and {option}",
                todo=f"`--by {column}` takes all its slices",
            )
        slice[column] = value
    return slice


def config(parser: argparse.ArgumentParser) -> None:
    """One config."""
    parser.add_argument("config", metavar="CONFIG", help="path of the YAML config")


def configs(parser: argparse.ArgumentParser) -> None:
    """Several configs."""
    parser.add_argument(
        "configs",
        metavar="CONFIG",
        nargs="+",
        help="path of the YAML config, or of a folder of configs; of several, one runs after another, and a table at "
        "the end sums up",
    )


def settings(parser: argparse.ArgumentParser) -> None:
    """What overrides the config."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the config, for example horizon=2d or predictions.path=logs; repeatable",
    )
    parser.add_argument(
        "--no-code",
        action="store_true",
        help="run no Python code that the config names (like SLI_NO_CODE=1); published results can still be read",
    )


def common(parser: argparse.ArgumentParser) -> None:
    """What nearly all subcommands take."""
    settings(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def row_format(parser: argparse.ArgumentParser) -> None:
    """How rows are written."""
    parser.add_argument(
        "--format",
        choices=("csv", "json", "parquet"),
        help="write rows to stdout in this format, with all digits: csv, json (one array, a row a line) or parquet",
    )


def recompute(parser: argparse.ArgumentParser) -> None:
    """What a run computes."""
    as_of(parser)
    parser.add_argument(
        "--look-back",
        metavar="DURATION",
        help="only recompute hours of the last DURATION (for example 1d); older stale hours wait for a run without "
        "this option",
    )
    parser.add_argument(
        "--full-listing",
        action="store_true",
        help="list all files of the logs, as the first run of a day does; other runs leave out folders that are named "
        "by dates too old to matter",
    )
    parser.add_argument(
        "--future",
        action="store_true",
        help="allow an --as-of in the future; `sli run` refuses it if the store has results as of today or earlier",
    )


def undo_future(parser: argparse.ArgumentParser) -> None:
    """Of a run after one with a wrong clock."""
    parser.add_argument(
        "--undo-future",
        action="store_true",
        help="first take back everything published with an as_of in the future",
    )


def as_of(parser: argparse.ArgumentParser) -> None:
    """What a run may know."""
    parser.add_argument("--as-of", metavar="TIME", help="use only what was known at TIME (default: now)")


def backfill(parser: argparse.ArgumentParser) -> None:
    """What a backfill computes."""
    parser.add_argument("--start", required=True, metavar="TIME", help="start of the interval")
    parser.add_argument("--end", required=True, metavar="TIME", help="end of the interval")
    parser.add_argument(
        "--sli",
        action="append",
        default=[],
        metavar="NAME",
        help="only compute this SLI, in the hours that lack it; repeatable (default: recompute everything)",
    )
    parser.add_argument(
        "--chunk",
        metavar="DURATION",
        help="publish in parts this long, for example 30d (default: parts that read about equally many bytes)",
    )
    as_of(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="list the parts, the windows and the reasons; write nothing"
    )


def slice_choice(parser: argparse.ArgumentParser, default: str) -> None:
    """Which slices; `default` is what the help says of none."""
    parser.add_argument(
        "--slice",
        action="append",
        metavar="COLUMN=VALUE",
        help="one slice, for example origin=JFK; repeat it for a slice by several columns",
    )
    parser.add_argument("--by", metavar="COLUMN[,COLUMN]", help=f"all slices by these columns (default: {default})")


def show(parser: argparse.ArgumentParser) -> None:
    """Of `sli show`."""
    parser.add_argument(
        "--sli",
        action="append",
        metavar="NAME",
        help="show this SLI; repeatable, of one slice the first is drawn (default: all)",
    )
    parser.add_argument(
        "--grain", metavar="GRAIN", help="hour, day, week, month, cumulative, or SIZE/EVERY like 7d/1d (default: day)"
    )
    parser.add_argument(
        "--start", metavar="TIME", help="only windows that end after TIME; of runs: as of TIME or later"
    )
    parser.add_argument("--end", metavar="TIME", help="only windows that start before TIME; of runs: as of before TIME")
    slice_choice(parser, "the first entry of `slice_by`")
    parser.add_argument("--as-of", metavar="TIME", help="what was published as of TIME (default: the newest)")
    parser.add_argument(
        "--rows",
        type=natural,
        metavar="N",
        help="how many windows, changes, runs or checks to list, the newest (default: 14; with --json all); on a "
        "terminal windows are listed only with this option",
    )
    parser.add_argument(
        "--table",
        choices=("results", "revisions", "audit", "runs", "backfills"),
        default="results",
        help="results (default); revisions: every change of a result, newest run first; audit: rows set aside or not "
        "counted; runs: what each run did; backfills: what each backfill changed in all",
    )


def query(parser: argparse.ArgumentParser) -> None:
    """Of `sli query`."""
    parser.add_argument(
        "sli", metavar="SLI", help="an SLI of the config, or a built-in one that the published tiles suffice for"
    )
    parser.add_argument(
        "--size", metavar="DURATION", help="length of a window, for example 6h or 7d (default: one window over all)"
    )
    parser.add_argument(
        "--every", metavar="DURATION", help="distance from one window's start to the next (default: the size)"
    )
    parser.add_argument("--start", metavar="TIME", help="start of the first window (default: `since` of the config)")
    parser.add_argument("--end", metavar="TIME", help="latest end of the last window (default: end of the newest hour)")
    slice_choice(parser, "all predictions together")
    parser.add_argument("--as-of", metavar="TIME", help="what was believed at TIME (default: the newest)")
    parser.add_argument(
        "--values",
        action="store_true",
        help="print how often each value occurs, for an SLI that keeps them (for example quantile)",
    )
    parser.add_argument(
        "--rows",
        type=natural,
        metavar="N",
        help="how many windows to list, the newest, or values, the most common (default: 14; with --json all)",
    )


def sql(parser: argparse.ArgumentParser) -> None:
    """Of `sli sql`."""
    parser.add_argument(
        "statement", metavar="SELECT", help="the statement, in quotes; `describe TABLE` lists the columns of a table"
    )


def slices(parser: argparse.ArgumentParser) -> None:
    """Of `sli slices`."""
    parser.add_argument(
        "--sli",
        metavar="NAME",
        help="compare by this SLI (default: the first whose better direction is known, for example by an objective)",
    )
    parser.add_argument("--start", metavar="TIME", help="start of the time compared (default: `since` of the config)")
    parser.add_argument("--end", metavar="TIME", help="end of the time compared (default: end of the newest hour)")
    parser.add_argument(
        "--support",
        type=natural,
        default=30,
        metavar="N",
        help="leave out slices with fewer than N labelled predictions (default: 30)",
    )
    parser.add_argument(
        "--rows", type=natural, metavar="N", help="how many slices to list (default: 10; with --json all)"
    )


def compare(parser: argparse.ArgumentParser) -> None:
    """Of `sli compare`."""
    parser.add_argument("sli", metavar="SLI", help="an SLI of the config")
    parser.add_argument(
        "--slices",
        required=True,
        metavar="COLUMN=VALUE,VALUE",
        help="the two slices, for example model=champion,challenger; the difference is the second minus the first",
    )
    parser.add_argument(
        "--pair",
        metavar="COLUMN",
        help="compare only requests that both slices scored: their rows have the same value in this column, for "
        "example request_id; reads the logs of the window again (default: take the slices as independent)",
    )
    parser.add_argument("--start", metavar="TIME", help="start of the time compared (default: `since` of the config)")
    parser.add_argument("--end", metavar="TIME", help="end of the time compared (default: end of the newest hour)")


def serve(parser: argparse.ArgumentParser) -> None:
    """Of `sli serve`."""
    parser.add_argument(
        "configs", metavar="CONFIG", nargs="+", help="path of the YAML config, or of a folder of configs"
    )
    parser.add_argument(
        "--port", type=natural, default=8787, metavar="N", help="port to listen on; 0: any free one (default: 8787)"
    )
    settings(parser)


def explain(parser: argparse.ArgumentParser) -> None:
    """Of `sli explain`."""
    parser.add_argument("sli", metavar="SLI", help="an SLI of the config")
    parser.add_argument(
        "--slice",
        action="append",
        metavar="COLUMN=VALUE",
        help="explain only this slice; repeat for slices by several columns (default: all predictions together)",
    )
    parser.add_argument("--start", metavar="TIME", help="start of the time explained (default: 7 days before its end)")
    parser.add_argument("--end", metavar="TIME", help="end of the time explained (default: end of the newest hour)")
    parser.add_argument(
        "--against",
        metavar="START/END",
        help="the time it is compared with (default: the stretch of equal length just before)",
    )
    parser.add_argument("--as-of", metavar="TIME", help="what was believed at that time (default: now)")


def report(parser: argparse.ArgumentParser) -> None:
    """Of `sli report`."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="where to write the page (default: report.html), or of several configs the folder of the pages and their "
        "index (default: reports); a path or a URL",
    )


def prometheus(parser: argparse.ArgumentParser) -> None:
    """Of `sli export prometheus`."""
    parser.add_argument(
        "--textfile",
        metavar="PATH",
        help="write the newest windows there, for the textfile collector of node_exporter: a file named *.prom, or the "
        "folder, in which each model gets a file (default: print them)",
    )
    parser.add_argument(
        "--history",
        metavar="FILE",
        help="write all windows as OpenMetrics, for `promtool tsdb create-blocks-from openmetrics`",
    )
    parser.add_argument(
        "--series",
        dest="settings",
        action="append",
        type=lambda text: f"export.prometheus.series={natural(text)}",
        metavar="N",
        help="allow so many series (default: 10000, or `series` of the config)",
    )


def rules(parser: argparse.ArgumentParser) -> None:
    """Of `sli export rules`."""
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the rules (default: print them)")


def folder(parser: argparse.ArgumentParser) -> None:
    """Of `sli export grafana`."""
    parser.add_argument("--folder", metavar="DIR", help="where to write them (default: grafana)")


def verify(parser: argparse.ArgumentParser) -> None:
    """Of `sli verify`."""
    parser.add_argument(
        "--windows",
        type=natural,
        default=50,
        metavar="N",
        help="how many windows to check, picked at random but always the same (default: 50; 0: all)",
    )


def doctor(parser: argparse.ArgumentParser) -> None:
    """Of `sli doctor`."""
    parser.add_argument(
        "--repair",
        action="store_true",
        help="mend the tables of the store from the logs and the revisions, and say each step: damaged tables are "
        "moved to `_damaged/` below the store, and a run recomputes every hour",
    )


def gc(parser: argparse.ArgumentParser) -> None:
    """Of `sli gc`."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be removed and merged; writes nothing"
    )


def init(parser: argparse.ArgumentParser) -> None:
    """Of `sli init`."""
    parser.add_argument("config", metavar="CONFIG", help="path of the config to write; must not exist yet")
    what = 'folder, file, table, URL or pattern ("logs/*.parquet" in quotes) of the {} log; repeatable'
    parser.add_argument(
        "--predictions", required=True, action="append", metavar="PATH", help=what.format("predictions")
    )
    parser.add_argument(
        "--feedback",
        action="append",
        metavar="PATH",
        help=f"{what.format('feedback')} (default: the predictions log, if its rows hold the labels too)",
    )
    parser.add_argument(
        "--store", default="./results", metavar="PATH", help="where to publish results (default: ./results)"
    )
    parser.add_argument(
        "--timezone",
        default="UTC",
        metavar="ZONE",
        help="zone whose days count, for example Europe/Paris (default: UTC)",
    )


def demo(parser: argparse.ArgumentParser) -> None:
    """Of `sli demo`."""
    parser.add_argument("which", nargs="?", choices=("flights", "taxi"), default="flights", help="(default: flights)")
    parser.add_argument(
        "--folder", metavar="PATH", help="where to write logs and results (default: ./demo-flights or ./demo-taxi)"
    )
    parser.add_argument(
        "--source",
        metavar="URL",
        help="for taxi: folder, file or URL of TLC yellow-taxi Parquet files that include January 2020",
    )
