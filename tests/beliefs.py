"""What was believed at any time: a window merged from the tiles of then is the row published then, or is refused."""

from __future__ import annotations

import pandas as pd
import pytest
from scenario import Scenario, text

import sli
from sli.errors import ConfigError, StoreError
from sli.planning.needs import RECOMPUTE
from sli.reading.publication import opened

VALUES = ["value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound", "coverage"]
COMPARED = [*VALUES, "predictions", "labelled", "reason", "maturity", "objective", "verdict", "definition"]
UNKNOWN = "holds hours still to be computed"


def check_belief(scenario: Scenario, as_of: int, number: int, tidied: bool = False) -> None:
    """A window as of a time equals the rows read as of it, and is refused exactly where no tiles of then exist.

    If the store is `tidied`, those of all but the newest publications may be gone.
    """
    instants = [instant.value // 1000 for instant in sli.read(scenario.config, table="runs").as_of]
    # Each run that published with whether it was older than one before. Of equal as_ofs the last counts.
    runs = [(instant, instant < max(instants[: i + 1])) for i, instant in enumerate(instants) if instant <= as_of]
    name = scenario.world.slis[0]
    if not runs:
        with pytest.raises(ConfigError, match="nothing was published yet at that time"):
            sli.query(scenario.config, name, as_of=text(as_of))
    elif sorted(runs, key=lambda run: run[0])[-1][1]:
        with pytest.raises(StoreError, match="has no tiles, because a run told it afterwards"):
            sli.query(scenario.config, name, as_of=text(as_of))
    else:
        rows = sli.read(scenario.config, as_of=text(as_of))
        groups = list(rows.groupby(["grain", "slice_by", "window_start", "window_end"]))
        if groups:
            (grain, by, _, _), window = groups[number % len(groups)]
            try:
                compare(scenario, window, str(grain), list(by), as_of)
            except StoreError as error:
                if not tidied or "no longer in the store" not in error.what:
                    raise


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
