"""How a file types its numbers, and which files meet in a task, does not show in the tables: 7 is 7.0, and "7"."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree
from scenario import DAY, HOUR, at, text

import sli
from sli.config.load import checked

MONDAY = at("2024-01-15T00:00")
UTC_TIME = pa.timestamp("us", tz="UTC")
FILES = 4
KINDS = {"text": pa.string(), "integers": pa.int64(), "floats": pa.float64()}
SETTINGS: dict[str, dict[str, Any]] = {
    "multiclass": {"classes": [1, 2, 3], "slis": ["accuracy", "recall", {"sli": "share", "value": 2}]},
    "ranking": {"slis": ["ndcg", "queries", {"sli": "share", "of": "device", "value": 7}]},
}


def write(folder: Path, task: str, kinds: list[str]) -> None:
    """The same logs, whose file i has the columns device, query and, of classes, the values as kinds[i]."""
    random = np.random.default_rng(5)
    for i, kind in enumerate(kinds):
        ids = [f"{i}-{j}" for j in range(60)]
        # Ids of the file before, too: who wins a tie in time is told by the texts of the columns.
        ids[:10] = [f"{max(i - 1, 0)}-{j}" for j in range(10)]
        times = MONDAY + i * 6 * HOUR + np.arange(60) * (HOUR // 10)
        times[:10] = MONDAY + max(i - 1, 0) * 6 * HOUR
        numbers = pa.array([None if n == 0 else int(n) for n in random.integers(0, 12, 60)], pa.int64())
        queries = pa.array((np.arange(60) // 5).tolist(), pa.int64())
        value, label = (pa.array(random.integers(1, 4, 60).tolist(), pa.int64()) for _ in range(2))
        kept = KINDS[kind] if task == "multiclass" else pa.float64()
        predictions = {
            "output_id": ids,
            "time": pa.array(times).cast(UTC_TIME),
            "value": value.cast(kept),
            "device": numbers.cast(KINDS[kind]),
            "query": queries.cast(KINDS[kind]),
        }
        feedback = {
            "output_id": ids,
            "time": pa.array(times + 7 * HOUR).cast(UTC_TIME),
            "value": label.cast(kept),
        }
        for log, columns in (("predictions", predictions), ("feedback", feedback)):
            path = folder / log / f"{i}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), path)


def config(folder: Path, store: str, task: str) -> Any:
    settings = SETTINGS[task]
    more = [
        {"sli": "distinct_count", "of": "device"},
        {"sli": "mode_share", "of": "device"},
        {"sli": "l_infinity", "of": "device", "against": "previous"},
    ]
    columns = {"time": "time", "value": "value"}
    predictions = columns | {"columns": ["device"]} | ({"query": "query"} if task == "ranking" else {})
    tree = config_tree(folder, predictions, columns, store=str(folder / store), task=task, slice_by=[[], ["device"]])
    return checked(tree | {"grains": ["hour", "day", "cumulative"], **settings, "slis": [*settings["slis"], *more]})


def rows(config: Any) -> pd.DataFrame:
    return sli.read(config).drop(columns=["run_id", "as_of"])


@pytest.mark.soak
@pytest.mark.parametrize("task", SETTINGS)
def test_types_of_numbers_do_not_show(tmp_path: Path, task: str) -> None:
    write(tmp_path / "plain", task, ["text"] * FILES)
    plain = config(tmp_path / "plain", "store", task)
    sli.run(plain, as_of=text(MONDAY + 3 * DAY))
    expected = rows(plain)
    assert expected.labelled.max() > 100
    for kinds in (["integers", "floats"], ["text", "integers"], ["floats", "integers"]):
        folder = tmp_path / "-".join(kinds)
        write(folder, task, list(itertools.islice(itertools.cycle(kinds), FILES)))
        once, by_hours = (config(folder, store, task) for store in ("once", "by-hours"))
        sli.run(once, as_of=text(MONDAY + 3 * DAY))
        pd.testing.assert_frame_equal(rows(once), expected)
        assert sli.verify(once, windows=9).equal
        for hours in (6, 18, 72):
            sli.run(by_hours, as_of=text(MONDAY + hours * HOUR))
        pd.testing.assert_frame_equal(rows(by_hours), expected)


@pytest.mark.parametrize("rows", [900, 1500])
def test_functions_get_the_texts_that_slices_show_of_few_pairs_and_of_many(tmp_path: Path, rows: int) -> None:
    times = pa.array(MONDAY + np.arange(rows) * 1_000_000).cast(UTC_TIME)
    ids, values = [str(i) for i in range(rows)], pa.array([1.0] * rows)
    devices = pa.array([None if i % 3 == 0 else 7.0 for i in range(rows)])
    for log, more in (("predictions", {"device": devices}), ("feedback", {})):
        (tmp_path / log).mkdir()
        pq.write_table(
            pa.table({"output_id": ids, "time": times, "value": values, **more}), tmp_path / log / "0.parquet"
        )
    (tmp_path / "of_types.py").write_text(
        "def sevens(y_true, y_pred, slices):\n    return (slices['device'] == '7').mean()\n"
    )
    function = {"name": "sevens", "python": "of_types:sevens", "columns": ["device"]}
    columns = {"time": "time", "value": "value"}
    more = {"task": "regression", "grains": ["hour", "day"], "slis": [function]}
    tree = config_tree(None, columns | {"columns": ["device"]}, columns, **more)
    (tmp_path / "sli.yaml").write_text(json.dumps(tree))
    sli.run(tmp_path / "sli.yaml", as_of=text(MONDAY + 3 * DAY))
    found = sli.read(tmp_path / "sli.yaml")
    assert found.value.tolist() == pytest.approx([2 / 3] * len(found))
    assert set(found.grain) == {"hour", "day"}
