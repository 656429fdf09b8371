"""`sli verify` recomputes what is published, for every task and every key, and names a row that was tampered with."""

from __future__ import annotations

import decimal
import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import MONDAY, small_world
from desk import Desk
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario
from worlds import config_of, pairs_of, write_logs

import sli
from sli.errors import ConfigError
from sli.slis import TASKS

AS_OF = "2024-04-01"
DRIFT = [
    {"sli": "psi", "of": "fare", "bins": 4},
    {"sli": "l_infinity", "of": "kind", "against": {"table": "reference.parquet"}},
    {"sli": "ks", "of": "fare", "against": {"start": "2024-03-10", "end": "2024-03-12"}},
]
OWN: dict[str, list[Any]] = {
    "binary": ["accuracy", "roc_auc", {"sli": "recall", "threshold": [0.3, 0.7]}],
    "multiclass": ["accuracy", "log_loss", {"sli": "recall", "label": ["a", "b", "c"]}, "mcc"],
    "regression": ["mae", "r2", {"sli": "error_quantile", "q": 0.9}],
    "ranking": [{"sli": "ndcg", "k": 3}, "queries"],
}


def published(folder: Path, task: str, **changes: Any) -> Path:
    """The config of a world of that task whose results are published."""
    write_logs(folder, pairs_of(task), task)
    tree = config_of(task, [*OWN[task], "count", {"sli": "feedback_delay", "q": 0.9}, *DRIFT])
    tree |= {
        "slice_by": [[], ["region"], {"columns": ["kind", "region"], "top": 3}, ["fare"]],
        "bins": {"fare": {"quantiles": 3, "table": "reference.parquet"}},
        "min_support": 30,
        "grains": ["day", "week", "month", "cumulative", {"size": "2d", "every": "1d"}],
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(tree | changes))
    sli.run(folder / "c.yaml", as_of=AS_OF)
    return folder / "c.yaml"


@pytest.mark.soak
@pytest.mark.parametrize("task", TASKS)
def test_all_windows_are_equal_with_drift_bins_caps_and_min_support(tmp_path: Path, task: str) -> None:
    config = published(tmp_path, task)
    rows = sli.read(config)
    found = sli.verify(config, windows=None)
    assert found.differences == []
    assert found.windows == found.windows_total == len(rows.groupby(["grain", "window_start", "window_end"]))
    assert found.rows + found.estimates == len(rows)
    assert found.rows > 0.95 * len(rows)
    reasons = rows[rows.slice_by == ("region",)].reason.dropna()
    assert reasons.str.contains("30").any(), "some slice is below min_support"
    assert any("(other)" in each.values() for each in rows.slice)


@pytest.fixture(scope="module")
def multiclass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a published world, which tests only read."""
    return published(tmp_path_factory.mktemp("multiclass"), "multiclass", min_support=0, grains=["day"])


VERIFY = importlib.import_module("sli.reading.verify")


def edited(monkeypatch: pytest.MonkeyPatch, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Let `sli verify` find other rows in the store than there are."""
    read = VERIFY._published_rows
    monkeypatch.setattr(VERIFY, "_published_rows", lambda *given: edit(read(*given)))


@pytest.mark.parametrize(
    ("sli_name", "slice"), [("recall_b", {}), ("psi", {"region": "north"}), ("mcc", {"fare": None})]
)
def test_a_manipulated_row_is_named(
    multiclass: Path, monkeypatch: pytest.MonkeyPatch, sli_name: str, slice: dict[str, Any]
) -> None:
    before: list[float] = []

    def manipulated(rows: pd.DataFrame) -> pd.DataFrame:
        mine = (rows.sli == sli_name) & (rows.slice_by == ",".join(slice)) & (rows.grain == "day") & rows.value.notna()
        at = rows[mine & rows.key.map(lambda key: key == tuple(slice.values()))].index[-1]
        before.append(rows.value[at])
        rows.loc[at, "value"] += 1e-3
        return rows

    edited(monkeypatch, manipulated)
    found = sli.verify(multiclass, windows=None)
    [difference] = found.differences
    assert difference.startswith(f"{sli_name}, day ")
    assert f"{before[0] + 1e-3} published, " in difference
    assert str(slice or "all") in difference


def test_a_count_that_is_off_and_a_row_that_is_missing_are_named(
    multiclass: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def manipulated(rows: pd.DataFrame) -> pd.DataFrame:
        counts.extend([rows.predictions[0], rows.labelled[0]])
        rows.loc[0, "labelled"] += 1
        return rows.drop(index=5)

    edited(monkeypatch, manipulated)
    first, second = sorted(sli.verify(multiclass, windows=None).differences, key=lambda each: "not published" in each)
    assert f"{counts[1] + 1} labelled; found {counts[0]}, {counts[1]}" in first
    assert "not published, " in second


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def agreed(desk: Desk) -> bool:
    assert desk.run().code in (0, 3)
    found = sli.verify(desk.config, windows=None)
    assert found.differences == []
    return found.rows > 0


TYPES = {
    "int64": pa.array([1, None, 2] * 2),
    "uint8": pa.array([1, None, 255] * 2, pa.uint8()),
    "boolean": pa.array([True, None, False] * 2),
    "float64": pa.array([0.1, 1e10, None, math.nan, -0.0, 0.0]),
    "float32": pa.array([0.1, 1e10, None, math.inf, -0.0, 0.0], pa.float32()),
    "decimals": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("20.00")] * 2),
    "dates": pa.array([date(2024, 1, 2), None, date(2024, 1, 3)] * 2),
    "dictionary": pa.array(["a", None, "b"] * 2).dictionary_encode(),
}


def test_slices_of_every_type_have_the_same_text(desk: Desk) -> None:
    desk.predictions(**TYPES)
    distinct = [{"name": f"distinct_{name}", "sli": "distinct_count", "of": name} for name in TYPES]
    shares = [{"name": f"share_{name}", "sli": "share", "of": name, "value": "1.5"} for name in TYPES]
    desk.configure(slice_by=[[], *([name] for name in TYPES)], slis=["accuracy", *distinct, *shares])
    assert agreed(desk)
    assert set(sli.read(desk.config).slice_by) == {(), *((name,) for name in TYPES)}


def test_a_column_of_whole_numbers_in_one_file_and_of_others_in_another(desk: Desk) -> None:
    desk.predictions(kind=pa.array([1, None, 2] * 2))
    desk.predictions("b.parquet", prefix="b", kind=pa.array([1.0, None, 2.5] * 2))
    desk.configure(slice_by=[["kind"]])
    assert agreed(desk)


@pytest.mark.parametrize("values", [[1, 2, None, 1, 2, 1], [True, False, None, True, False, True]])
def test_classes_beside_nulls(desk: Desk, values: list[Any]) -> None:
    desk.predictions(animal=pa.array(values))
    desk.feedback(label=pa.array(values[::-1]))
    names = {"classes": [1, 2] if values[0] is not True else ["true", "false"], "predictions__value": "animal"}
    desk.configure(task="multiclass", **names)
    assert agreed(desk)
    assert desk.counts() == (6, 5)


def test_what_the_kernel_sets_aside_is_set_aside(desk: Desk) -> None:
    desk.predictions(
        output_id=pa.array([1, 2, None, 4, 5, 6]), score=pa.array([0.2, None, 0.1, math.nan, math.inf, 1.5])
    )
    desk.feedback(output_id=[1, 2, 3, 4, 5, 6], label=pa.array([1.0, math.nan, None, 1.0, 0.0, 0.5]))
    assert agreed(desk)
    assert desk.counts() == (2, 1)


@pytest.mark.parametrize("reference", [["1", "2", "1"], [1.0, 2.0, 1.0]])
def test_a_reference_table_is_read_with_the_types_of_the_logs(desk: Desk, reference: list[Any]) -> None:
    pq.write_table(pa.table({"kind": reference}), desk.root / "reference.parquet")
    desk.predictions(kind=pa.array([1, None, 2] * 2))
    against = {"table": "reference.parquet"}
    desk.configure(
        predictions__columns=["kind"],
        slis=[{"sli": "l_infinity", "of": "kind", "against": against}, {"sli": "psi", "against": against}],
    )
    assert agreed(desk)
    values = sli.read(desk.config).set_index("sli").value
    assert values["l_infinity"] == pytest.approx(2 / 3 - 1 / 2)
    assert pd.isna(values["psi"]), "the table has no predictions"


def test_predictions_of_no_query(desk: Desk) -> None:
    desk.predictions(shown=pa.array(["a", None, "b"] * 2))
    desk.feedback(label=[0, 1, 2, 0, 1, 0])
    desk.configure(task="ranking", predictions__query="shown", slis=["mrr", "queries", {"sli": "ndcg", "k": 2}])
    assert agreed(desk)


def late_world(folder: Path, grains: tuple[Any, ...]) -> Scenario:
    """A published hour of Monday whose windows are final."""
    scenario = Scenario(folder, small_world(slice_by=((),), slis=("accuracy",), horizon=DAY, grains=grains))
    scenario.log_predictions("p.parquet", [Prediction(f"{i}", MONDAY + 10 * HOUR + i, 0.8, {}) for i in range(4)])
    scenario.log_feedback("f.parquet", [Feedback("0", MONDAY + 11 * HOUR, 1.0)])
    scenario.run(MONDAY + 10 * DAY)
    return scenario


@pytest.mark.parametrize("grains", [("hour", "cumulative"), (("sliding", "2d/1d", ("d", 2), ("d", 1)),)])
def test_windows_before_an_hour_that_is_held_are_not_missing(tmp_path: Path, grains: tuple[Any, ...]) -> None:
    scenario = late_world(tmp_path, grains)
    scenario.log_predictions("late.parquet", [Prediction("late", MONDAY + 4 * DAY, 0.8, {})])
    assert scenario.run(MONDAY + 11 * DAY).plan.held
    assert sli.verify(scenario.config, windows=None).equal


def test_a_grain_that_only_the_config_has_needs_a_run_first(tmp_path: Path) -> None:
    scenario = late_world(tmp_path, ("hour",))
    scenario.world = replace(scenario.world, grains=("hour", "day"))
    with pytest.raises(ConfigError, match="the config differs from what is published"):
        sli.verify(scenario.config)
