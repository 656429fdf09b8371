"""A Python function is not called for windows and slices whose pairs did not change; their values stay as published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import config_tree

import sli
from sli.command.text import expected_lines
from sli.config.load import checked
from sli.config.model import Config
from sli.publishing.commit import CALLS
from sli.runs.preview import expected_results

OWN = """
import pathlib

calls = []


def gap(label, prediction):
    calls.append(len(label))
    return float((prediction - label).mean())


def with_a_service(label, prediction):
    if pathlib.Path(__file__).with_name("away").exists():
        raise RuntimeError("service away")
    return gap(label, prediction)


def growth(label, prediction, reference):
    calls.append(len(label))
    return float(prediction.mean() - reference[1].mean())
"""
DAY = pd.Timestamp("2024-01-15", tz="UTC")
GRAINS = ["hour", "day", "cumulative", {"size": "2d", "every": "1d"}]


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The name of a module with the functions; no other test has a module of that name."""
    name = f"own_kept_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


def config(folder: Path, module: str, store: str = "store", **more: Any) -> Config:
    own = {"since": "2024-01-15", "horizon": "7d", "folder": str(folder), "store": str(folder / store)}
    slis = [{"name": "gap", "python": f"{module}:gap"}]
    tree = config_tree(folder, slis=slis, grains=GRAINS, slice_by=[[], ["site"]])
    return checked(tree | own | more)


def log(folder: Path, of: str, name: str, frame: pd.DataFrame) -> None:
    (folder / of).mkdir(exist_ok=True)
    frame.to_parquet(folder / of / f"{name}.parquet", index=False)


def logged(folder: Path, each_hour: int = 40) -> pd.DataFrame:
    """Predictions of two sites in 2 hours of each of 3 days; those whose number is not divisible by 5 have labels."""
    hours = [DAY + pd.Timedelta(days=day, hours=hour) for day in range(3) for hour in (1, 2)]
    rows = len(hours) * each_hour
    frame = pd.DataFrame({"output_id": [f"{i}" for i in range(rows)], "predicted_at": hours * each_hour})
    frame["score"] = [i * 37 % 101 / 101 for i in range(rows)]
    frame["site"] = ["n" if i // len(hours) % 2 else "s" for i in range(rows)]
    log(folder, "predictions", "0", frame)
    labels = frame.assign(known_at=frame.predicted_at, label=[i % 3 % 2 for i in range(rows)])
    log(folder, "feedback", "0", labels[frame.index % 5 > 0][["output_id", "known_at", "label"]])
    return frame


def late(folder: Path, frame: pd.DataFrame, name: str = "1", hour: int = 4) -> None:
    """A label for each of these predictions, known on the third day."""
    rows = frame[["output_id"]].assign(known_at=DAY + pd.Timedelta(days=2, hours=hour), label=1)
    log(folder, "feedback", name, rows[["output_id", "known_at", "label"]])


def calls_of_run(config: Config, module: str, as_of: str) -> list[int]:
    """The numbers of pairs that functions were called on in a run."""
    del calls(module)[:]
    sli.run(config, as_of=as_of)
    return list(calls(module))


def calls(module: str) -> list[int]:
    found: list[int] = vars(sys.modules[module])["calls"] if module in sys.modules else []
    return found


def same_tables(one: Config, other: Config) -> None:
    """As they are published, but for when."""
    rows = (sli.read(of).drop(columns=["run_id", "as_of"]) for of in (one, other))
    pd.testing.assert_frame_equal(*rows)


def test_late_labels_of_one_slice_call_a_function_for_its_windows_alone(tmp_path: Path, module: str) -> None:
    frame = logged(tmp_path)
    ours = config(tmp_path, module)
    sli.run(ours, as_of="2024-01-17T03:00")
    one = frame[(frame.site == "n") & (frame.predicted_at == DAY + pd.Timedelta(hours=1)) & (frame.index % 5 == 0)]
    assert len(one)
    late(tmp_path, one)
    made = calls_of_run(ours, module, "2024-01-17T05:00")
    # Of site n and of all: an hour, a day, two sliding windows, three cumulative ones; equal pairs share a call.
    assert 2 * 4 <= len(made) <= 2 * 7
    again = config(tmp_path, module, "again")
    everything = calls_of_run(again, module, "2024-01-17T05:00")
    assert len(everything) > 2 * len(made)
    same_tables(ours, again)


def test_a_run_in_which_only_other_hours_changed_keeps_intervals_and_values(tmp_path: Path, module: str) -> None:
    """Beyond a sample each interval takes 199 calls."""
    frame = logged(tmp_path, each_hour=1500)
    ours = config(tmp_path, module, grains=["day", {"size": "2d", "every": "1d"}], slice_by=[[]])
    sli.run(ours, as_of="2024-01-17T03:00")
    late(tmp_path, frame[(frame.predicted_at >= DAY + pd.Timedelta(days=2)) & (frame.index % 5 == 0)])
    made = calls_of_run(ours, module, "2024-01-17T05:00")
    again = config(tmp_path, module, "again", grains=["day", {"size": "2d", "every": "1d"}], slice_by=[[]])
    calls_of_run(again, module, "2024-01-17T05:00")
    same_tables(ours, again)
    assert made.count(1000) == 200


def test_windows_that_become_final_call_no_function(tmp_path: Path, module: str) -> None:
    logged(tmp_path)
    ours = config(tmp_path, module)
    sli.run(ours, as_of="2024-01-17T03:00")
    assert calls_of_run(ours, module, "2024-02-17") == []
    assert (sli.read(ours).maturity == "final").all()


def test_a_value_follows_the_pairs_of_its_reference(tmp_path: Path, module: str) -> None:
    frame = logged(tmp_path)
    references: tuple[Any, ...] = ("previous", {"start": "2024-01-15", "end": "2024-01-16"})
    slis = [{"name": f"g{i}", "python": f"{module}:growth", "against": against} for i, against in enumerate(references)]
    ours = config(tmp_path, module, slis=slis)
    sli.run(ours, as_of="2024-01-17T03:00")
    late(tmp_path, frame[(frame.site == "n") & (frame.predicted_at < DAY + pd.Timedelta(days=1))])
    made = calls_of_run(ours, module, "2024-01-17T05:00")
    again = config(tmp_path, module, "again", slis=slis)
    assert 0 < len(made) < len(calls_of_run(again, module, "2024-01-17T05:00"))
    same_tables(ours, again)


def test_a_window_that_waited_is_not_taken_for_unchanged(tmp_path: Path, module: str) -> None:
    """The first run with a look-back changes an hour of a window, and leaves another hour of it; the second does not
    change that other hour, but the window is still as it was before both."""
    frame = logged(tmp_path)
    ours = config(tmp_path, module)
    sli.run(ours, as_of="2024-01-17T03:00")
    late(tmp_path, frame[(frame.index % 5 == 0) & (frame.predicted_at >= DAY + pd.Timedelta(days=2))])
    sli.run(ours, as_of="2024-01-17T05:00", look_back="12h")
    sli.run(ours, as_of="2024-01-17T05:00")
    again = config(tmp_path, module, "again")
    sli.run(again, as_of="2024-01-17T05:00")
    same_tables(ours, again)


def test_a_value_that_failed_is_not_kept(tmp_path: Path, module: str) -> None:
    """It may have failed for another reason than its pairs: then it recovers with any change of its window."""
    frame = logged(tmp_path)
    slis = [{"name": "gap", "python": f"{module}:with_a_service"}]
    ours = config(tmp_path, module, slis=slis)
    (tmp_path / "away").touch()
    sli.run(ours, as_of="2024-01-17T03:00")
    assert sli.read(ours).reason.str.contains("service away").all()
    (tmp_path / "away").unlink()
    late(tmp_path, frame[(frame.site == "n") & (frame.index % 5 == 0)])
    sli.run(ours, as_of="2024-01-17T05:00")
    again = config(tmp_path, module, "again", slis=slis)
    sli.run(again, as_of="2024-01-17T05:00")
    assert sli.read(ours).value.notna().all()
    same_tables(ours, again)


def test_a_run_of_an_older_as_of_keeps_nothing(tmp_path: Path, module: str) -> None:
    """The pairs of a site are those of the newest run, but not those of what was known then."""
    frame = logged(tmp_path)
    ours = config(tmp_path, module)
    sli.run(ours, as_of="2024-01-17T03:00")
    unlabelled = frame[(frame.index % 5 == 0) & (frame.predicted_at < DAY + pd.Timedelta(days=1))]
    late(tmp_path, unlabelled[unlabelled.site == "s"], "1", hour=2)
    sli.run(ours, as_of="2024-01-17T05:00")
    late(tmp_path, unlabelled[unlabelled.site == "n"], "2", hour=2)
    sli.run(ours, as_of="2024-01-17T03:00")
    again = config(tmp_path, module, "again")
    sli.run(again, as_of="2024-01-17T03:00")
    of_then, fresh = (sli.read(one, as_of="2024-01-17T03:00") for one in (ours, again))
    pd.testing.assert_frame_equal(*(rows.drop(columns=["run_id", "as_of"]) for rows in (of_then, fresh)))


def test_a_plan_says_how_long_calls_take_from_the_calls_of_the_last_runs(tmp_path: Path, module: str) -> None:
    frame = logged(tmp_path)
    ours = config(tmp_path, module)

    def planned() -> list[str]:
        return expected_lines(expected_results(ours, sli.plan(ours, as_of="2024-01-17T05:00")), ours.slice_sets)

    assert "known after a run that makes some" in planned()[-1]
    made = calls_of_run(ours, module, "2024-01-17T03:00")
    (plan,) = (json.loads(text) for text in sli.read(ours, table="runs")["plan"])
    assert plan[CALLS]["number"] == len(made)
    assert 0 < plan[CALLS]["seconds"] < 5
    late(tmp_path, frame[frame.index % 5 == 0])
    assert planned()[-1].startswith("  they take at most ")
    sli.run(ours, as_of="2024-02-17")
    assert [CALLS in json.loads(text) for text in sli.read(ours, table="runs")["plan"]] == [True, True]
