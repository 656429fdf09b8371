"""The arguments of `sli` and of each subcommand, and their help.

Limit: it only parses; what depends on the config (SLIs, grains, slices, times) is checked by the library.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sli.command.parsing import Parser
from sli.errors import ConfigError

EPILOG = """\
exit codes:
  0  done, or there was nothing to do
  2  the config or an argument is wrong; nothing was done
  3  done and published, with warnings: bad input was set aside, many rows are in conflict, a Python SLI failed,
     no feedback can be used (see also: sli show CONFIG --table audit), or a sink of `export` did not get the results
     (the next run sends them)
  4  failed; nothing was published (a backfill keeps the parts that it reported as published); of `sli export`: the
     sink did not get the results
  5  verify found results that differ from a recomputation
of several configs it is the worst: 4, else 2, 5, 3 or 0

A folder means its *.yaml and *.yml files. One without `model` that another one `extends` is a base, and not run.

TIME is ISO 8601, for example 2013-06-01 or 2013-06-01T18:00Z; without a zone it is read in the config's time zone.
--start is included, --end is excluded."""


@functools.cache
def parser() -> Parser:
    """The parser of the command line; `command` of what it parses is the name of the subcommand."""
    main = Parser(
        prog="sli",
        description="How good was a model really? Joins the predictions it made with the feedback that came later,\n"
        "and publishes its service-level indicators (SLIs) for every hour, day and longer window.",
        epilog=EPILOG,
    )
    # Not by an import statement: a wing does not import the face of the package.
    version = sys.modules["sli"].__version__
    main.add_argument("--version", action="version", version=f"sli {version}", help="print the version")
    commands = main.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    _add_commands(commands, COMMANDS)
    return main


def _add_commands(parsers: argparse._SubParsersAction[Parser], commands: Mapping[str, Command]) -> None:
    for name, (description, arguments) in commands.items():
        command = parsers.add_parser(name, help=description.split(".")[0], description=description, epilog=EPILOG)
        for add_arguments in arguments:
            add_arguments(command)


def _natural(text: str) -> int:
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


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="path of the YAML config")


def _configs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs",
        metavar="CONFIG",
        nargs="+",
        help="path of the YAML config, or of a folder of configs; of several, one runs after another, and a table at "
        "the end sums up",
    )


def _settings(parser: argparse.ArgumentParser) -> None:
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


def _common(parser: argparse.ArgumentParser) -> None:
    _settings(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("csv", "json", "parquet"),
        help="write rows to stdout in this format, with all digits: csv, json (one array, a row a line) or parquet",
    )


def _recompute(parser: argparse.ArgumentParser) -> None:
    _as_of(parser)
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


def _undo_future(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--undo-future",
        action="store_true",
        help="first take back everything published with an as_of in the future",
    )


def _as_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="TIME", help="use only what was known at TIME (default: now)")


def _backfill(parser: argparse.ArgumentParser) -> None:
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
    _as_of(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="list the parts, the windows and the reasons; write nothing"
    )


def _slice_choice(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--slice",
        action="append",
        metavar="COLUMN=VALUE",
        help="one slice, for example origin=JFK; repeat it for a slice by several columns",
    )
    parser.add_argument("--by", metavar="COLUMN[,COLUMN]", help=f"all slices by these columns (default: {default})")


def _show(parser: argparse.ArgumentParser) -> None:
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
    _slice_choice(parser, "the first entry of `slice_by`")
    parser.add_argument("--as-of", metavar="TIME", help="what was published as of TIME (default: the newest)")
    parser.add_argument(
        "--rows",
        type=_natural,
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


def _query(parser: argparse.ArgumentParser) -> None:
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
    _slice_choice(parser, "all predictions together")
    parser.add_argument("--as-of", metavar="TIME", help="what was believed at TIME (default: the newest)")
    parser.add_argument(
        "--values",
        action="store_true",
        help="print how often each value occurs, for an SLI that keeps them (for example quantile)",
    )
    parser.add_argument(
        "--rows",
        type=_natural,
        metavar="N",
        help="how many windows to list, the newest, or values, the most common (default: 14; with --json all)",
    )


def _sql(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "statement", metavar="SELECT", help="the statement, in quotes; `describe TABLE` lists the columns of a table"
    )


def _slices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sli",
        metavar="NAME",
        help="compare by this SLI (default: the first whose better direction is known, for example by an objective)",
    )
    parser.add_argument("--start", metavar="TIME", help="start of the time compared (default: `since` of the config)")
    parser.add_argument("--end", metavar="TIME", help="end of the time compared (default: end of the newest hour)")
    parser.add_argument(
        "--support",
        type=_natural,
        default=30,
        metavar="N",
        help="leave out slices with fewer than N labelled predictions (default: 30)",
    )
    parser.add_argument(
        "--rows", type=_natural, metavar="N", help="how many slices to list (default: 10; with --json all)"
    )


def _compare(parser: argparse.ArgumentParser) -> None:
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


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs", metavar="CONFIG", nargs="+", help="path of the YAML config, or of a folder of configs"
    )
    parser.add_argument(
        "--port", type=_natural, default=8787, metavar="N", help="port to listen on; 0: any free one (default: 8787)"
    )
    _settings(parser)


def _explain(parser: argparse.ArgumentParser) -> None:
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


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="where to write the page (default: report.html), or of several configs the folder of the pages and their "
        "index (default: reports); a path or a URL",
    )


def _export(parser: argparse.ArgumentParser) -> None:
    sinks = parser.add_subparsers(title="sinks", metavar="SINK", dest="sink", required=True, parser_class=Parser)
    _add_commands(sinks, SINKS)


def _prometheus(parser: argparse.ArgumentParser) -> None:
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
        type=lambda text: f"export.prometheus.series={_natural(text)}",
        metavar="N",
        help="allow so many series (default: 10000, or `series` of the config)",
    )


def _rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write the rules (default: print them)")


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", help="where to write them (default: grafana)")


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--windows",
        type=_natural,
        default=50,
        metavar="N",
        help="how many windows to check, picked at random but always the same (default: 50; 0: all)",
    )


def _init(parser: argparse.ArgumentParser) -> None:
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


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", nargs="?", choices=("flights", "taxi"), default="flights", help="(default: flights)")
    parser.add_argument(
        "--folder", metavar="PATH", help="where to write logs and results (default: ./demo-flights or ./demo-taxi)"
    )
    parser.add_argument(
        "--source",
        metavar="URL",
        help="for taxi: folder, file or URL of TLC yellow-taxi Parquet files that include January 2020",
    )


class Command(NamedTuple):
    """A subcommand: what it does, and the functions that add its arguments, in the order of its help."""

    description: str
    arguments: tuple[Callable[[argparse.ArgumentParser], None], ...]


SINKS: dict[str, Command] = {
    "postgres": Command(
        "Make the tables in PostgreSQL equal to what is published. Sends all results and removes others of the model.",
        (_configs, _common),
    ),
    "grafana": Command(
        "Write a dashboard over the tables in PostgreSQL, and the files by which Grafana finds both.",
        (_config, _common, _folder),
    ),
    "prometheus": Command(
        "Print the newest windows as metrics, or write them for node_exporter; or write all windows with time stamps.\n"
        "Which SLIs, grains and slices: `export.prometheus` in the config.",
        (_configs, _common, _prometheus),
    ),
    "rules": Command(
        "Write rules for Prometheus: alerts on the objectives of the config, on late labels and late runs. From the\n"
        "config alone.",
        (_config, _common, _rules),
    ),
}
"""What `sli export` sends to."""
SQL = """\
Print the rows of an SQL statement over the published tables. One SELECT, in the SQL of DuckDB; reads no logs.

tables:
  current                all results, as they are known now; hourly, daily and cumulative are those of one grain
  as_known('TIME')       all results, as they were known at TIME
  changes                what the last run changed, and why; revisions: the same of all runs
  audit                  rows and files of the logs that do not count now
  runs                   what each run did
  columns                what each column means, its unit, and when it is null

for example: sli sql CONFIG "select window_start, slice['origin'], value from daily where sli = 'recall'"
"""
COMMANDS = {
    "run": Command(
        "Bring the results up to date with the logs. Recomputes only what changed.",
        (_configs, _common, _recompute, _undo_future),
    ),
    "plan": Command(
        "Print what `sli run` would do, and why. Reads listings and file footers, writes nothing.",
        (_configs, _common, _recompute),
    ),
    "backfill": Command(
        "Recompute an interval from the logs, final hours too, and print what changed.\n"
        "If it is interrupted, the same command continues it.",
        (_config, _common, _backfill),
    ),
    "show": Command(
        "Say how a model does, or print published results. Without options: how good it is now, whether that is\n"
        "as required, whether a drop is real, and what the last run changed. With options, on a terminal: a line for\n"
        "each slice, or a chart of one slice; in a pipe: a line for each window and slice. --json always has rows.",
        (_configs, _common, _format, _show),
    ),
    "query": Command(
        "Print an SLI over any windows and slices. Computed from what is stored; reads no logs.",
        (_config, _common, _format, _query),
    ),
    "sql": Command(SQL, (_config, _common, _format, _sql)),
    "slices": Command(
        "List the slices that are worse than the whole, the worst first. Reads no logs.", (_config, _common, _slices)
    ),
    "compare": Command(
        "Print the difference of an SLI between two slices, with its interval. Such as champion and challenger:\n"
        "computed from what is stored or, with --pair, from the requests that both scored.",
        (_config, _common, _compare),
    ),
    "explain": Command(
        "Say whether a change of an SLI is chance, late labels, bad data, or one slice, and since when it is worse.\n"
        "Reads no logs.",
        (_config, _common, _explain),
    ),
    "report": Command(
        "Write a page that says how good the model is: one HTML file, which needs nothing else. Reads no logs.",
        (_configs, _common, _report),
    ),
    "serve": Command(
        "Serve the pages of models to this machine, live. Any windows, as believed at any time; follows new runs.",
        (_serve,),
    ),
    "export": Command(
        "Send published results to where dashboards and alerts are. Runs send what they publish to every sink that\n"
        "the config lists under `export`. Reads no logs.",
        (_export,),
    ),
    "verify": Command(
        "Recompute published windows from the raw logs with plain pandas, and compare.", (_configs, _common, _verify)
    ),
    "init": Command("Write a commented config from what your Parquet files look like.", (_init,)),
    "demo": Command("Run everything on real data: flights out of New York, or taxi rides (with --source).", (_demo,)),
}
