"""The subcommands of `sli`, what each does, and which options it takes.

Limit: it only parses; what depends on the config (SLIs, grains, slices, times) is checked by the library.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sli.command import options
from sli.command.parsing import Parser

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
of doctor: 0 nothing is wrong, 3 there are warnings, 4 there are problems
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


def _export(parser: argparse.ArgumentParser) -> None:
    sinks = parser.add_subparsers(title="sinks", metavar="SINK", dest="sink", required=True, parser_class=Parser)
    _add_commands(sinks, SINKS)


class Command(NamedTuple):
    """A subcommand: what it does, and the functions that add its arguments, in the order of its help."""

    description: str
    arguments: tuple[Callable[[argparse.ArgumentParser], None], ...]


SINKS: dict[str, Command] = {
    "postgres": Command(
        "Make the tables in PostgreSQL equal to what is published. Sends all results and removes others of the model.",
        (options.configs, options.common),
    ),
    "grafana": Command(
        "Write a dashboard over the tables in PostgreSQL, and the files by which Grafana finds both.",
        (options.config, options.common, options.folder),
    ),
    "prometheus": Command(
        "Print the newest windows as metrics, or write them for node_exporter; or write all windows with time stamps.\n"
        "Which SLIs, grains and slices: `export.prometheus` in the config.",
        (options.configs, options.common, options.prometheus),
    ),
    "rules": Command(
        "Write rules for Prometheus: alerts on the objectives of the config, on late labels and late runs. From the\n"
        "config alone.",
        (options.config, options.common, options.rules),
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
        (options.configs, options.common, options.recompute, options.undo_future),
    ),
    "plan": Command(
        "Print what `sli run` would do, and why. Reads listings and file footers, writes nothing.",
        (options.configs, options.common, options.recompute),
    ),
    "backfill": Command(
        "Recompute an interval from the logs, final hours too, and print what changed.\n"
        "If it is interrupted, the same command continues it.",
        (options.config, options.common, options.backfill),
    ),
    "show": Command(
        "Say how a model does, or print published results. Without options: how good it is now, whether that is\n"
        "as required, whether a drop is real, and what the last run changed. With options, on a terminal: a line for\n"
        "each slice, or a chart of one slice; in a pipe: a line for each window and slice. --json always has rows.",
        (options.configs, options.common, options.row_format, options.show),
    ),
    "query": Command(
        "Print an SLI over any windows and slices. Computed from what is stored; reads no logs.",
        (options.config, options.common, options.row_format, options.query),
    ),
    "sql": Command(SQL, (options.config, options.common, options.row_format, options.sql)),
    "slices": Command(
        "List the slices that are worse than the whole, the worst first. Reads no logs.",
        (options.config, options.common, options.slices),
    ),
    "compare": Command(
        "Print the difference of an SLI between two slices, with its interval. Such as champion and challenger:\n"
        "computed from what is stored or, with --pair, from the requests that both scored.",
        (options.config, options.common, options.compare),
    ),
    "explain": Command(
        "Say whether a change of an SLI is chance, late labels, bad data, or one slice, and since when it is worse.\n"
        "Reads no logs.",
        (options.config, options.common, options.explain),
    ),
    "report": Command(
        "Write a page that says how good the model is: one HTML file, which needs nothing else. Reads no logs.",
        (options.configs, options.common, options.report),
    ),
    "serve": Command(
        "Serve the pages of models to this machine, live. Any windows, as believed at any time; follows new runs.",
        (options.serve,),
    ),
    "export": Command(
        "Send published results to where dashboards and alerts are. Runs send what they publish to every sink that\n"
        "the config lists under `export`. Reads no logs.",
        (_export,),
    ),
    "verify": Command(
        "Recompute published windows from the raw logs with plain pandas, and compare.",
        (options.configs, options.common, options.verify),
    ),
    "status": Command(
        "Say how a store is on one screen: its last run, how far its results have come, what waits, how large it is.\n"
        "Reads no logs.",
        (options.configs, options.common),
    ),
    "doctor": Command(
        "Check a config, its logs and its store, and say what is wrong and what to do. Reads listings, footers and\n"
        "samples of rows; writes nothing but probes, which it removes. With --repair it first mends the store.",
        (options.configs, options.common, options.doctor),
    ),
    "gc": Command(
        "Remove files of the store that no reader can need any more and revisions older than `history`, and merge\n"
        "small files. Runs do the same, a little each time.",
        (options.configs, options.common, options.gc),
    ),
    "init": Command("Write a commented config from what your Parquet files look like.", (options.init,)),
    "demo": Command(
        "Run everything on real data: flights out of New York, or taxi rides (with --source).", (options.demo,)
    ),
}
