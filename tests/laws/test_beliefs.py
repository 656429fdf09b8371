"""What was believed at any time: a window merged from the tiles of then is the row published then, or is refused."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from laws.test_histories import START, another_config, change_files, feedback, limited, prediction, world
from oracle import Prediction
from scenario import DAY, HOUR, Scenario, text

import sli
from sli.errors import ConfigError, StoreError
from sli.planning.needs import RECOMPUTE
from sli.reading.publication import opened

VALUES = ["value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound", "coverage"]
COMPARED = [*VALUES, "predictions", "labelled", "reason", "maturity", "objective", "verdict", "definition"]
UNKNOWN = "holds hours still to be computed"
WINDOWS = 6
"""How many windows are asked of a belief."""


def play(seed: int, root: Path, note: Callable[[str], None] = lambda _: None) -> None:
    """A history with late feedback, changed files and configs, backfills and runs of older times; then every belief."""
    pick = random.Random(seed)
    scenario = Scenario(root, world(pick))
    valid = Prediction("id-0", START + 6 * HOUR, 0.5, {"a": "x", "b": "1"})
    scenario.log_predictions("first.parquet", [valid, *(prediction(pick, 12, scenario.world.task) for _ in range(8))])
    scenario.log_feedback("first.parquet", [feedback(pick, 12, scenario.world.task) for _ in range(8)])
    newest, runs = START + DAY, list[tuple[int, bool]]()
    for _ in range(pick.randint(2, 4)):
        newest += pick.choice([0, HOUR, DAY, 5 * DAY])
        what = pick.choice(["run", "run", "limited", "older"]) if runs else "run"
        as_of = pick.randrange(scenario.world.since + HOUR, newest, HOUR) if what == "older" else newest
        if what == "limited":
            note(limited(pick, scenario, as_of))
        elif scenario.run(as_of).published:
            note(f"run as of {text(as_of)}, newest {text(newest)}")
        for _ in range(pick.randint(0, 3)):
            note(change_files(pick, scenario, 12, growing=False))
        if pick.random() < 0.2:
            scenario.world = another_config(pick, scenario.world)
            note(f"{scenario.world.slis} {scenario.world.slice_by} {scenario.world.grains}")
        runs = told(scenario)
    for as_of in {START, *(at + more for at, _ in runs for more in (-HOUR, 0, HOUR))}:
        check(scenario, as_of, runs, pick)


def told(scenario: Scenario) -> list[tuple[int, bool]]:
    """The as_of of each run that published, in their order, and whether it was older than that of one before."""
    instants = [instant.value // 1000 for instant in sli.read(scenario.config, table="runs").as_of]
    return [(instant, instant < max(instants[: i + 1])) for i, instant in enumerate(instants)]


def check(scenario: Scenario, as_of: int, runs: list[tuple[int, bool]], pick: random.Random) -> None:
    """Windows as of a time equal the rows read as of it, and are refused exactly where no tiles of then exist."""
    known = [run for run in runs if run[0] <= as_of]
    if not known:
        with pytest.raises(ConfigError, match="nothing was published yet at that time"):
            sli.query(scenario.config, scenario.world.slis[0], as_of=text(as_of))
        return
    # Of equal ones the last counts; sorting by as_of keeps their order.
    if sorted(known, key=lambda run: run[0])[-1][1]:
        with pytest.raises(StoreError, match="has no tiles, because a run told it afterwards"):
            sli.query(scenario.config, scenario.world.slis[0], as_of=text(as_of))
        return
    rows = sli.read(scenario.config, as_of=text(as_of))
    groups = list(rows.groupby(["grain", "slice_by", "window_start", "window_end"]))
    for (grain, by, _, _), window in pick.sample(groups, min(len(groups), WINDOWS)):
        compare(scenario, window, str(grain), list(by), as_of)


def compare(scenario: Scenario, rows: pd.DataFrame, grain: str, by: list[str], as_of: int) -> None:
    """The rows of one window equal those merged from the tiles of then."""
    start, end, config = rows.window_start.iloc[0], rows.window_end.iloc[0], scenario.config
    now = {declared.name: config.definition(declared) for declared in config.declared}
    rows = rows[[now.get(name) == definition for name, definition in zip(rows.sli, rows.definition, strict=True)]]
    # The window before is one of the same grain, which only its size names.
    sized = {"size": grain.split("/")[0]} if "/" in grain else {}
    names = sorted({name for name in rows.sli if "previous" not in name or sized})
    if not names or tuple(by) not in config.slice_sets:
        return
    mine = sli.query(config, names, start=start, end=end, slice_by=by, as_of=text(as_of), **sized)
    # Of windows with hours that wait for a run, a slice may have no tiles any more; the rows that there are say so.
    hidden = {name for name, reason in zip(mine.sli, mine.reason, strict=True) if reason == UNKNOWN}
    assert mine[mine.sli.isin(hidden)].value.isna().all()
    if mine.empty and opened(config, text(as_of)).published.needs.of(RECOMPUTE):
        return
    mine, rows = (frame[frame.sli.isin(set(names) - hidden)] for frame in (mine, rows))
    key = [[(r.sli, str(sorted(r.slice.items()))) for r in frame.itertuples()] for frame in (mine, rows)]
    assert sorted(key[0]) == sorted(key[1])
    theirs = dict(zip(key[1], rows[COMPARED].itertuples(index=False), strict=True))
    for name, row in zip(key[0], mine[COMPARED].itertuples(index=False), strict=True):
        expected = theirs[name]
        for column in COMPARED:
            a, b = getattr(row, column), getattr(expected, column)
            assert a == b or (pd.isna(a) and pd.isna(b)), f"{name} {start} {end} as of {text(as_of)}: {column} {a} {b}"


# Each example takes seconds: two in `make test`, 40 in `make fuzz`.
@settings(max_examples=settings.default.max_examples // 50, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_after_any_history_a_window_as_of_any_time_is_what_was_read_then(seed: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="sli-beliefs-"))
    try:
        play(seed, root, note)
    finally:
        shutil.rmtree(root, ignore_errors=True)
