"""The same rows, logged in another shape, give the same tables to the bit, also when some of them come late."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree

import sli
from sli.config.load import checked
from sli.planning import tasks

N = 240
RNG = np.random.default_rng(14)
START = pd.Timestamp("2024-01-15", tz="UTC")
PREDICTIONS = pd.DataFrame(
    {
        "output_id": [f"r|{i}" for i in range(N)],
        "predicted_at": (START + pd.to_timedelta(np.sort(RNG.integers(0, 2 * 86_400_000, N)), "ms")).as_unit("us"),
        "score": RNG.integers(0, 1000, N) / 1000,
        "country": RNG.choice(["de", "fr"], N),
    }
)
KNOWN = PREDICTIONS.sample(180, random_state=1)
FEEDBACK = pd.DataFrame(
    {
        "output_id": KNOWN.output_id,
        "known_at": KNOWN.predicted_at + pd.to_timedelta(RNG.integers(0, 86_400_000, len(KNOWN)), "ms"),
        "label": RNG.integers(0, 2, len(KNOWN)),
    }
).sort_values("known_at", ignore_index=True)
NUMBER = PREDICTIONS.output_id.str[2:].astype(int)
KNOWN_NUMBER = FEEDBACK.output_id.str[2:].astype(int)
Write = Callable[[Path], None]


def parquet(rows: pd.DataFrame | pa.Table) -> Write:
    """Writes rows in three files of several groups of rows."""

    def write(folder: Path) -> None:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
        folder.mkdir(parents=True)
        for part, start in enumerate(range(0, len(table), 100)):
            pq.write_table(table.slice(start, 100), folder / f"{part}.parquet", row_group_size=30)

    return write


def folders(rows: pd.DataFrame, name: str) -> Write:
    """Writes rows in a folder for each value of a column."""

    def write(folder: Path) -> None:
        for value, group in rows.groupby(name):
            (folder / f"{name}={value}").mkdir(parents=True)
            pq.write_table(
                pa.Table.from_pandas(group.drop(columns=name), preserve_index=False),
                folder / f"{name}={value}/a.parquet",
            )

    return write


def micros(times: pd.Series) -> pd.Series:
    return times.astype("int64")


def twice(rows: pd.DataFrame, column: str, kept: str, other: str, **wrong: Any) -> pd.DataFrame:
    """The rows, and each of them once more for another system, with wrong values."""
    return pd.concat([rows.assign(**{column: kept}), rows.assign(**{column: other}, **wrong)], ignore_index=True)


SCORES = pa.array([[1 - score, score] for score in PREDICTIONS.score])
NESTED = pa.table(
    {
        "output_id": PREDICTIONS.output_id,
        "predicted_at": PREDICTIONS.predicted_at,
        "output": pa.StructArray.from_arrays([SCORES, pa.array(["x"] * N)], ["scores", "version"]),
        "tags": pa.array([[("country", c)] for c in PREDICTIONS.country], pa.map_(pa.string(), pa.string())),
    }
)
PAYLOAD = PREDICTIONS[["output_id", "predicted_at"]].assign(
    payload=[
        json.dumps({"score": score, "geo": [{"country": c}]})
        for score, c in zip(PREDICTIONS.score, PREDICTIONS.country, strict=True)
    ]
)
WORDS = FEEDBACK.assign(label=np.where(FEEDBACK.label == 1, "yes", "no"))
MAPPED = {"positive": ["yes"], "negative": ["no"]}
TWO_MODELS = twice(PREDICTIONS, "model", "a", "b", score=0.5)
SHAPES: Mapping[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "milliseconds and nanoseconds, rows of other systems": (
        twice(PREDICTIONS, "env", "prod", "test", score=0.5).assign(
            predicted_at=lambda rows: micros(rows.predicted_at) // 1000
        ),
        twice(FEEDBACK, "kind", "chargeback", "review", label=1).assign(
            known_at=lambda rows: micros(rows.known_at) * 1000
        ),
        {"time": {"column": "predicted_at", "unit": "ms"}, "where": "env = 'prod' AND score IS NOT NULL"},
        {"time": {"column": "known_at", "unit": "ns"}, "where": "lower(kind) = 'chargeback'"},
    ),
    "fractions of seconds, whole numbers as ids, which are floats with nulls in feedback": (
        PREDICTIONS.assign(output_id=NUMBER, predicted_at=micros(PREDICTIONS.predicted_at) / 1e6),
        FEEDBACK.assign(
            output_id=KNOWN_NUMBER.astype(float), known_at=(micros(FEEDBACK.known_at) / 1e6).map("{:.3f}".format)
        ),
        {"id": {"column": "output_id", "type": "text"}, "time": {"column": "predicted_at", "unit": "s"}},
        {"id": {"column": "output_id", "type": "text"}, "time": {"column": "known_at", "unit": "s"}},
    ),
    "ISO texts, folders of models, and texts as labels": (
        folders(
            TWO_MODELS.assign(predicted_at=TWO_MODELS.predicted_at.dt.tz_convert("Asia/Kolkata").astype(str)), "model"
        ),
        WORDS.assign(known_at=WORDS.known_at.dt.strftime("%Y-%m-%dT%H:%M:%S.%f")),
        {"where": "model IN ('a')"},
        {"labels": MAPPED},
    ),
    "texts with a format, SQL, and false as the positive label": (
        PREDICTIONS.assign(
            predicted_at=PREDICTIONS.predicted_at.dt.strftime("%d/%m/%Y %H:%M:%S.%f"),
            score=PREDICTIONS.score * 2,
            country=PREDICTIONS.country.str.upper(),
        ),
        FEEDBACK.assign(known_at=FEEDBACK.known_at.dt.strftime("%d.%m.%y %H:%M:%S.%f %z"), label=FEEDBACK.label == 0),
        {
            "time": {"column": "predicted_at", "format": "%d/%m/%Y %H:%M:%S.%f"},
            "value": {"sql": "score / 2"},
            "columns": {"country": "lower(country)"},
        },
        {
            "time": {"column": "known_at", "format": "%d.%m.%y %H:%M:%S.%f %z"},
            "labels": {"positive": [False], "negative": [True]},
        },
    ),
    "struct, list and map, and -1 and 1 as labels": (
        NESTED,
        FEEDBACK.assign(label=FEEDBACK.label * 2.0 - 1),
        {"value": "output.scores[2]", "columns": {"country": "tags.country"}},
        {"labels": {"positive": [1], "negative": [-1]}},
    ),
    "JSON, and whole numbers in one log that are texts in the other": (
        PAYLOAD.assign(output_id=NUMBER),
        FEEDBACK.assign(output_id=KNOWN_NUMBER.astype(str)),
        {
            "id": {"column": "output_id", "type": "text"},
            "value": "payload.score",
            "columns": {"country": "payload.geo[1].country"},
        },
        {"id": {"column": "output_id", "type": "text"}},
    ),
    "ids of two columns": (
        TWO_MODELS,
        FEEDBACK.assign(model="a"),
        {"id": ["output_id", "model"], "where": "model = 'a'"},
        {"id": ["output_id", "model"]},
    ),
}
"""Each shape of a time, an id, a value and a label once; several in one log, since each is a key of its own."""


def written(root: Path, predictions: Any, feedback: Any) -> None:
    for name, rows in (("predictions", predictions), ("feedback", feedback)):
        (rows if callable(rows) else parquet(rows))(root / name)


def tables(root: Path, predictions: Mapping[str, Any], feedback: Any, **changes: Any) -> pd.DataFrame:
    """The results after two runs, the second of which knows more; they are what `verify` computes by itself."""
    asked = {
        "slis": ["accuracy", "log_loss", "feedback_delay"],
        "slice_by": [[], ["country"]],
        "grains": ["hour", "day"],
    }
    several = isinstance(feedback, list)
    tree = config_tree(root, predictions, {} if several else feedback, **asked | changes)
    if several:
        tree["feedback"] = [config_tree(root, None, one)["feedback"] for one in feedback]
    config = checked(tree)
    sli.run(config, as_of="2024-01-16T06:00")
    assert not sli.run(config, as_of="2024-01-18").warnings
    # Equal tables hold equal values everywhere: few windows show whether `verify` reads this shape alike.
    assert sli.verify(config, windows=2).differences == []
    rows = sli.read(config).drop(columns=["definition", "run_id"])
    ordered = rows.assign(text=rows.slice.astype(str)).sort_values(["sli", "grain", "window_start", "text"])
    return ordered.drop(columns="text").reset_index(drop=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("plain")
    written(root, PREDICTIONS, FEEDBACK)
    return tables(root, {}, {})


@pytest.mark.parametrize("shape", SHAPES)
def test_a_log_of_another_shape_gives_the_same_tables(tmp_path: Path, plain: pd.DataFrame, shape: str) -> None:
    predictions, feedback, of_predictions, of_feedback = SHAPES[shape]
    written(tmp_path, predictions, feedback)
    found = tables(tmp_path, of_predictions, of_feedback)
    pd.testing.assert_frame_equal(found, plain, check_exact=True)
    assert len(plain) > 100


def test_several_feedback_logs_give_the_tables_of_one(tmp_path: Path, plain: pd.DataFrame) -> None:
    written(tmp_path, PREDICTIONS, FEEDBACK.iloc[::2])
    others = WORDS.iloc[1::2].rename(columns={"label": "outcome"})
    parquet(others.assign(known_at=micros(others.known_at)))(tmp_path / "other")
    second = {
        "path": f"{tmp_path}/other",
        "time": {"column": "known_at", "unit": "us"},
        "value": "outcome",
        "labels": MAPPED,
    }
    pd.testing.assert_frame_equal(tables(tmp_path, {}, [{}, second]), plain, check_exact=True)


def test_one_table_for_both_logs_gives_the_same_tables(tmp_path: Path, plain: pd.DataFrame) -> None:
    both = PREDICTIONS.merge(FEEDBACK, on="output_id", how="left")
    parquet(both)(tmp_path / "predictions")
    feedback = {"path": f"{tmp_path}/predictions", "where": "label IS NOT NULL"}
    pd.testing.assert_frame_equal(tables(tmp_path, {}, feedback), plain, check_exact=True)


def everything(root: str, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both logs written to a folder in a shape that needs most keys, and the keys for logs at `root`."""
    rows = twice(PREDICTIONS, "env", "prod", "test", score=0.5)
    parquet(
        pa.table(
            {
                "event_ms": micros(rows.predicted_at) // 1000,
                "env": rows.env,
                "request": [{"id": id, "model": "m"} for id in rows.output_id],
                "payload": [
                    json.dumps({"p": score, "where": [c]}) for score, c in zip(rows.score, rows.country, strict=True)
                ],
            }
        )
    )(folder / "predictions")
    named = FEEDBACK.assign(model="m", known_at=FEEDBACK.known_at.dt.tz_localize(None).astype(str))
    parquet(named.iloc[::2])(folder / "feedback")
    parquet(named.assign(label=WORDS.label).iloc[1::2])(folder / "other")
    predictions = {
        "where": "env = 'prod'",
        "id": ["request.id", {"column": "request.model", "type": "text"}],
        "time": {"column": "event_ms", "unit": "ms"},
        "value": "payload.p",
        "columns": {"country": "payload.where[1]"},
    }
    one = {"id": ["output_id", "model"], "path": f"{root}/feedback"}
    return predictions, [one, {**one, "path": f"{root}/other", "labels": MAPPED}]


def test_all_keys_at_once_in_a_shuffle(tmp_path: Path, plain: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMALL", -1), ("SHUFFLED", 0), ("KERNEL", 1)):
        monkeypatch.setattr(tasks, name, value)
    found = tables(tmp_path, *everything(str(tmp_path), tmp_path), memory="64KB")
    pd.testing.assert_frame_equal(found, plain, check_exact=True)


def test_all_keys_at_once_on_s3(tmp_path: Path, plain: pd.DataFrame, s3: str) -> None:
    keys = everything(s3, tmp_path)
    fsspec.filesystem("s3").put(f"{tmp_path}/", f"{s3}/", recursive=True)
    found = tables(tmp_path, *keys, predictions__path=f"{s3}/predictions")
    pd.testing.assert_frame_equal(found, plain, check_exact=True)


def test_feedback_without_a_time_is_known_as_soon_as_its_prediction(tmp_path: Path) -> None:
    both = FEEDBACK.merge(PREDICTIONS[["output_id", "predicted_at"]], on="output_id")
    at_once = both.assign(known_at=both.predicted_at).drop(columns="predicted_at")
    lost = pd.DataFrame({"output_id": ["nobody"], "known_at": [START], "label": [1]})
    written(tmp_path / "timed", PREDICTIONS, pd.concat([at_once, lost]))
    written(tmp_path / "untimed", PREDICTIONS, pd.concat([at_once, lost]).drop(columns="known_at"))
    timed = tables(tmp_path / "timed", {}, {})
    pd.testing.assert_frame_equal(tables(tmp_path / "untimed", {}, {"time": {"from": "prediction"}}), timed)
    assert (timed.groupby("sli").labelled.max() > 90).all()


def test_feedback_without_a_time_is_known_when_its_file_was_written(tmp_path: Path) -> None:
    hourly = FEEDBACK.assign(known_at=FEEDBACK.known_at.dt.floor("h"))
    written(tmp_path / "timed", PREDICTIONS, hourly)
    parquet(PREDICTIONS)(tmp_path / "untimed/predictions")
    (tmp_path / "untimed/feedback").mkdir()
    for hour, rows in hourly.groupby("known_at"):
        path = tmp_path / f"untimed/feedback/{hour:%Y%m%dT%H}.parquet"
        pq.write_table(pa.Table.from_pandas(rows.drop(columns="known_at"), preserve_index=False), path)
        os.utime(path, ns=(pd.Timestamp(hour).value, pd.Timestamp(hour).value))
    timed = tables(tmp_path / "timed", {}, {}, feedback__early="1h")
    untimed = tables(tmp_path / "untimed", {}, {"time": {"from": "file"}}, feedback__early="1h")
    pd.testing.assert_frame_equal(untimed, timed, check_exact=True)
