"""What windows are compared with, and tiles that gain states or slices later: right after any kind of run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import config_tree

import sli
from sli.command.cli import main
from sli.errors import ConfigError
from sli.runs.outcome import Outcome
from sli.runs.recompute import _until_published
from sli.slis.formula import Objective
from sli.slis.maths.distances import Pairing

DAYS = 4
OWN = """
def mean(y_true, y_pred, reference):
    return float(reference[1].mean())

def fails(y_true, y_pred, reference):
    raise ValueError("not today")

def share(y_true, y_pred):
    return float(y_pred.mean())
"""


def write(folder: Path, log: str, rows: pd.DataFrame, time: str, tag: str = "") -> None:
    (folder / log).mkdir(exist_ok=True)
    for day, part in rows.groupby(rows[time].dt.date):
        part.to_parquet(folder / log / f"{day}{tag}.parquet", index=False)


def world(folder: Path, rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Four days of predictions with a region and a column called `start`; feedback for most within a day."""
    random = np.random.default_rng(seed)
    times = pd.Timestamp("2024-03-01", tz="UTC") + pd.to_timedelta(
        np.sort(random.integers(0, DAYS * 86_400, rows)), unit="s"
    )
    frame = pd.DataFrame({"output_id": [f"{seed}-{i}" for i in range(rows)], "predicted_at": times})
    frame = frame.assign(
        score=random.random(rows).round(4), region=random.choice(["n", "s", "e"], rows), start=np.arange(rows)
    )
    write(folder, "predictions", frame, "predicted_at", str(seed))
    known = frame.assign(known_at=times + pd.to_timedelta(random.integers(0, 86_400, rows), unit="s"))
    known["label"] = (random.random(rows) < frame.score).astype(float)
    write(
        folder, "feedback", known[["output_id", "known_at", "label"]][random.random(rows) < 0.85], "known_at", str(seed)
    )
    (folder / "reference_own.py").write_text(OWN)
    return frame


def config(folder: Path, slis: list[Any], **changes: Any) -> Path:
    grains = ["hour", "day", "cumulative"]
    tree = config_tree(
        since="2024-03-01",
        horizon="2d",
        slice_by=[[], ["region"]],
        grains=grains,
        slis=slis,
        predictions__columns=["start"],
    )
    (folder / "config.yaml").write_text(json.dumps(tree | changes))
    return folder / "config.yaml"


def rows(path: Path) -> pd.DataFrame:
    """The published rows, without their runs."""
    frame = sli.read(path)
    frame["slice"] = frame["slice"].map(str)
    return (
        frame.drop(columns=["as_of", "run_id"])
        .sort_values(list(frame.columns[:8]), kind="stable")
        .reset_index(drop=True)
    )


def same_as_rebuilt(path: Path, as_of: str) -> None:
    sli.run(path, as_of=as_of, settings=["store=rebuilt"])
    tree = json.loads(path.read_text()) | {"store": "rebuilt"}
    other = path.with_name("rebuilt.yaml")
    other.write_text(json.dumps(tree))
    pd.testing.assert_frame_equal(rows(path), rows(other), check_exact=True)


def test_a_slice_set_that_is_no_longer_declared_leaves_the_tables_for_good(tmp_path: Path) -> None:
    world(tmp_path)
    path = config(tmp_path, ["accuracy"], horizon="30d")
    sli.run(path, as_of="2024-03-05")
    path = config(tmp_path, ["accuracy"], slice_by=[[]], horizon="30d")
    sli.run(path, as_of="2024-03-05")
    world(tmp_path, 50, seed=1)
    sli.run(path, as_of="2024-03-06")
    assert set(sli.read(path).slice_by) == {()}
    same_as_rebuilt(path, "2024-03-06")
    config(tmp_path, ["accuracy"], horizon="30d")
    sli.run(path, as_of="2024-03-06")
    same_as_rebuilt(path, "2024-03-06")


def test_a_reference_table_is_sampled_whatever_its_order_and_cleaned_as_the_logs_are(tmp_path: Path) -> None:
    frame = world(tmp_path)
    random = np.random.default_rng(2)
    score = np.sort(random.random(20_000))
    table = pd.DataFrame({"score": score, "region": "n", "start": 0, "label": 1.0})
    bad = pd.DataFrame({"score": [np.nan, 7.0, -1.0] * 50, "region": "n", "start": 0, "label": [2.0, np.nan, 5.0] * 50})
    pd.concat([table, bad]).to_parquet(tmp_path / "train.parquet", index=False)
    against = {"table": "train.parquet"}
    slis = [{"sli": "mean_difference", "against": against}, {"sli": "ks", "against": against}]
    path = config(
        tmp_path,
        [*slis, {"name": "reference", "python": "reference_own:mean", "of": "prediction", "against": against}],
        slice_by=[[]],
        grains=["cumulative"],
    )
    sli.run(path, as_of="2024-03-20")
    newest = {row.sli: row for row in sli.read(path).sort_values("window_end").itertuples()}
    assert newest["mean_difference"].value == pytest.approx(frame.score.mean() - score.mean(), abs=1e-12)
    assert newest["reference"].value == pytest.approx(score.mean(), abs=0.06)
    assert sli.verify(path, windows=None).equal


def test_a_window_waits_for_the_hours_it_rests_on_and_no_others(tmp_path: Path) -> None:
    frame = world(tmp_path, 2000)
    path = config(tmp_path, ["accuracy", {"sli": "ks"}], horizon="10d", slice_by=[[]])
    sli.run(path, as_of="2024-03-04")
    second = frame[frame.predicted_at < pd.Timestamp("2024-03-02", tz="UTC")].iloc[:1]
    late = pd.DataFrame({"output_id": second.output_id, "known_at": pd.Timestamp("2024-03-04T01:00Z"), "label": 0.0})
    late.to_parquet(tmp_path / "feedback" / "late.parquet", index=False)
    sli.run(path, as_of="2024-03-05", look_back="12h")
    last = pd.Timestamp("2024-03-04", tz="UTC")
    hours = sli.read(path, grain="hour")
    counts = hours[hours.window_start >= last].groupby("sli").size()
    assert counts["ks"] == counts["accuracy"]
    asked = sli.query(path, "ks", size="1h", start="2024-03-04")
    assert "holds hours still to be computed" not in set(asked.reason)
    sli.run(path, as_of="2024-03-05")
    same_as_rebuilt(path, "2024-03-05")


def none_rests_on(path: Path, held: Any) -> None:
    """The new SLI has rows, none of a held hour, and no new slice entered."""
    results = sli.read(path)
    new = results[results.sli == "null_rate"]
    assert len(new)
    for interval in held:
        start, end = (pd.Timestamp(at, unit="us", tz="UTC") for at in (interval.start, interval.end))
        assert not ((new.window_start < end) & (new.window_end > start)).any()
    assert set(results.slice_by) == {()}


def test_a_new_sli_or_slice_does_not_mix_with_input_that_is_held(tmp_path: Path) -> None:
    world(tmp_path)
    path = config(tmp_path, ["accuracy"], slice_by=[[]])
    sli.run(path, as_of="2024-03-20")
    world(tmp_path, 300, seed=1)
    outcome = sli.run(path, as_of="2024-03-21")
    assert outcome.plan.held
    path = config(tmp_path, ["accuracy", "null_rate"])
    sli.run(path, as_of="2024-03-21")
    none_rests_on(path, outcome.plan.held)
    backfill = {"start": "2024-03-01", "end": "2024-03-06", "as_of": "2024-03-21"}
    sli.backfill(path, **backfill)
    sli.run(path, as_of="2024-03-21")
    same_as_rebuilt(path, "2024-03-21")


def test_a_new_sli_and_new_slices_of_final_hours_that_are_held_wait_for_their_backfill(tmp_path: Path) -> None:
    frame = world(tmp_path)
    path = config(tmp_path, ["accuracy"], slice_by=[[]])
    sli.run(path, as_of="2024-03-20")
    late = pd.DataFrame({"output_id": frame.output_id[:9], "known_at": pd.Timestamp("2024-03-02T06:00Z"), "label": 0.0})
    late.to_parquet(tmp_path / "feedback" / "late.parquet", index=False)
    path = config(tmp_path, ["accuracy", "null_rate"])
    outcome = sli.run(path, as_of="2024-03-21")
    assert outcome.first is not None
    assert outcome.first.plan.to_confirm
    assert outcome.plan.held == outcome.first.plan.held != ()
    none_rests_on(path, outcome.plan.held)
    assert not sli.run(path, as_of="2024-03-21").published
    sli.backfill(path, start="2024-03-01", end="2024-03-03", as_of="2024-03-21")
    sli.run(path, as_of="2024-03-21")
    assert not sli.run(path, as_of="2024-03-21").published
    same_as_rebuilt(path, "2024-03-21")


def final_hours_to_confirm(folder: Path) -> Path:
    """A config that gains an SLI and slices while unmatched feedback of a final hour has come."""
    world(folder)
    sli.run(config(folder, ["accuracy"], slice_by=[[]]), as_of="2024-03-20")
    nobody = pd.DataFrame({"output_id": ["nobody"], "known_at": pd.Timestamp("2024-03-01T06:00Z"), "label": 0.0})
    nobody.to_parquet(folder / "feedback" / "nobody.parquet", index=False)
    return config(folder, ["accuracy", "null_rate"])


def test_a_run_killed_before_the_second_one_leaves_what_waited_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = final_hours_to_confirm(tmp_path)
    publications = []

    def killed_before_the_second(*arguments: Any) -> Outcome:
        if publications:
            raise KeyboardInterrupt
        publications.append(_until_published(*arguments))
        return publications[0]

    with monkeypatch.context() as patched:
        patched.setattr("sli.runs.recompute._until_published", killed_before_the_second)
        with pytest.raises(KeyboardInterrupt):
            sli.run(path, as_of="2024-03-21")
    assert publications[0].plan.needs_second
    assert set(sli.read(path).slice_by) == {()}
    outcome = sli.run(path, as_of="2024-03-21")
    assert outcome.published
    assert outcome.first is None
    same_as_rebuilt(path, "2024-03-21")


def test_a_second_run_right_after_one_that_confirms_final_hours_adds_the_new_sli_and_slices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = final_hours_to_confirm(tmp_path)
    assert main(["plan", str(path), "--as-of", "2024-03-21"]) == 0
    said = capsys.readouterr().out
    second = "waiting for a second run right after this one, which confirms"
    assert f"{second} these final hours: null_rate of 2024-03-01" in said
    assert f"{second} final hours: new slices (region)" in said
    outcome = sli.run(path, as_of="2024-03-21")
    assert outcome.first is not None
    assert outcome.first.plan.to_confirm
    assert not outcome.plan.held
    assert len(sli.read(path, table="runs")) == 3
    later = sli.read(path, table="revisions").query("sequence > 1")
    assert len(outcome.revised) == len(later)
    assert not sli.run(path, as_of="2024-03-21").published
    same_as_rebuilt(path, "2024-03-21")


def test_a_change_of_the_reference_alone_is_told_as_such(tmp_path: Path) -> None:
    world(tmp_path)
    path = config(tmp_path, [{"sli": "mean_difference"}], grains=["day"], slice_by=[[]], horizon="30d")
    sli.run(path, as_of="2024-03-10")
    first = pd.DataFrame({"output_id": ["x"], "predicted_at": [pd.Timestamp("2024-03-02T12:00Z")], "score": [1.0]})
    write(tmp_path, "predictions", first.assign(region="n", start=0), "predicted_at", "more")
    outcome = sli.run(path, as_of="2024-03-11")
    causes = {row["window_start"].day: row["cause"] for row in outcome.revised.to_pylist()}
    assert causes == {2: "new predictions", 3: "changed reference"}


def test_a_failing_function_is_named_whatever_it_is_compared_with_and_a_small_slice_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world(tmp_path)
    slis = [{"name": "share", "python": "reference_own:share"}]
    path = config(tmp_path, slis, min_support=20, grains=["hour"])
    assert main(["run", str(path), "--as-of", "2024-03-20"]) == 0
    failing = {"name": "failing", "python": "reference_own:fails", "against": "previous"}
    path = config(tmp_path, [*slis, failing], min_support=20, grains=["hour"])
    assert main(["run", str(path), "--as-of", "2024-03-20"]) == 3
    assert "failing: ValueError: not today" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slice_by": [[], ["a,b"]]}, "comma"),
        ({"slice_by": [[], ["slice_0"]]}, "the column name 'slice_0' is reserved"),
        (
            {"slice_by": [["predicted_at"]], "bins": {"predicted_at": [1, 2]}},
            "the column name 'predicted_at' is reserved",
        ),
        ({"slice_by": [["seen_at"]], "bins": {"seen_at": [1, 2]}}, "bins need a column of numbers"),
        ({"slice_by": [["region"]], "bins": {"region": [1, 2]}}, "bins need a column of numbers"),
    ],
)
def test_columns_that_cannot_be_slices_are_refused_before_any_work(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    frame = world(tmp_path, 20)
    for file in (tmp_path / "predictions").iterdir():
        part = pd.read_parquet(file)
        part.assign(**{"a,b": "x", "slice_0": "y", "seen_at": part.predicted_at}).to_parquet(file, index=False)
    assert len(frame)
    with pytest.raises(ConfigError) as error:
        sli.run(config(tmp_path, ["accuracy"], **changes), as_of="2024-03-20")
    assert message in str(error.value)


@pytest.mark.parametrize("text", [">= nan", "<= inf", "> -inf"])
def test_an_objective_is_a_finite_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not an objective"):
        Objective(text)


COMPARED = [
    {"name": f"{sli}_{i}", "sli": sli, "of": "carrier", "against": against}
    for i, against in enumerate(["previous", {"start": "2024-03-01", "end": "2024-03-02"}, {"table": "train.parquet"}])
    for sli in ("chi_squared_p", "chi_squared")
]


def with_carriers(folder: Path) -> None:
    """The same predictions, each with one of many carriers; half of them are the table to compare with."""
    files, random = sorted((folder / "predictions").iterdir()), np.random.default_rng(4)
    for file in files:
        part = pd.read_parquet(file)
        part.assign(carrier=random.choice([f"c{i}" for i in range(13)], len(part))).to_parquet(file, index=False)
    pd.concat([pd.read_parquet(file) for file in files[::2]]).to_parquet(folder / "train.parquet", index=False)


def carried(folder: Path, slis: list[Any]) -> Path:
    path = config(folder, slis, grains=["hour", "day", "cumulative", {"size": "2d", "every": "1d"}])
    tree = json.loads(path.read_text())
    tree["predictions"]["columns"] = ["start", "carrier"]
    path.write_text(json.dumps(tree))
    return path


def test_a_backfill_with_nothing_new_revises_nothing(tmp_path: Path) -> None:
    world(tmp_path, 600)
    with_carriers(tmp_path)
    path = carried(tmp_path, [*COMPARED, "roc_auc"])
    sli.run(path, as_of="2024-03-12")
    before = rows(path)
    third = {"start": "2024-03-03", "end": "2024-03-04", "as_of": "2024-03-12"}
    for settings in ([], ["memory=64MB"]):
        outcome = sli.backfill(path, **third, settings=settings)
        assert outcome.runs[0].plan.to_recompute
        assert outcome.changes.empty
    pd.testing.assert_frame_equal(rows(path), before, check_exact=True)


def test_a_window_whose_states_are_the_same_keeps_its_value_though_the_arithmetic_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(tmp_path, 300)
    path = config(tmp_path, [{"sli": "wasserstein"}, "log_loss"])
    sli.run(path, as_of="2024-03-12")
    before = rows(path)
    sums = Pairing.sums
    # As on another processor, or by another version of a library.
    monkeypatch.setattr(Pairing, "sums", lambda of, terms: sums(of, terms) * (1 + 2.0**-52))
    outcome = sli.backfill(path, start="2024-03-02", end="2024-03-05", as_of="2024-03-12")
    assert outcome.runs[0].tiles
    assert outcome.changes.empty
    late = pd.DataFrame({"output_id": ["0-0", "0-1", "0-2"], "known_at": pd.Timestamp("2024-03-02T12:00Z")})
    late.assign(label=pd.array([None] * 3, "Float64")).to_parquet(tmp_path / "feedback" / "late.parquet", index=False)
    [changed] = sli.backfill(path, start="2024-03-01", end="2024-03-05", as_of="2024-03-12").runs
    assert {row["window_start"].day for row in changed.revised.to_pylist() if row["grain"] == "day"} <= {1, 2}
    kept = before.window_start >= pd.Timestamp("2024-03-03", tz="UTC")
    pd.testing.assert_frame_equal(rows(path)[kept], before[kept], check_exact=True)


def test_other_values_of_the_same_predictions_are_told_apart_from_a_changed_reference(tmp_path: Path) -> None:
    world(tmp_path)
    path = config(tmp_path, [{"sli": "wasserstein"}], grains=["day"], slice_by=[[]], horizon="30d")
    sli.run(path, as_of="2024-03-10")
    [second] = (tmp_path / "predictions").glob("2024-03-02*")
    part = pd.read_parquet(second)
    part.assign(score=part.score / 2).to_parquet(second, index=False)
    outcome = sli.run(path, as_of="2024-03-11")
    causes = {row["window_start"].day: row["cause"] for row in outcome.revised.to_pylist()}
    assert causes == {2: "changed predictions", 3: "changed reference"}
