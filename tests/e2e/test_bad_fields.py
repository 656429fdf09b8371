"""Fields, conditions, labels and ids that do not fit the logs: a message that says what to do, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import Desk, N

import sli

SCORES = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def audited(desk: Desk) -> dict[str, int]:
    """How many rows each check of the audit counts."""
    return {check: count for (_, check), count in desk.audit().items()}


def structs(*fields: str) -> pa.Array:
    return pa.array([dict.fromkeys(fields, score) for score in SCORES])


@pytest.mark.parametrize(
    ("changes", "code", "parts"),
    [
        ({"predictions__where": "score >"}, 2, ["predictions.where", "this SQL cannot be used"]),
        ({"predictions__where": "score > 0; DROP TABLE x"}, 2, ["predictions.where", "syntax error"]),
        ({"predictions__where": "score > (SELECT 0)"}, 2, ["predictions.where", "a query within it"]),
        ({"predictions__where": "read_text('/etc/passwd') <> ''"}, 2, ["predictions.where", "read_text"]),
        ({"predictions__where": "random() > 0.5"}, 2, ["predictions.where", "random"]),
        ({"predictions__where": "enviroment = 'prod'"}, 2, ["predictions.where", "'enviroment'"]),
        ({"predictions__where": "score + 1"}, 4, ["`where` is double, not true or false"]),
        ({"predictions__value": {"sql": "upper(output_id)"}}, 4, ["`(upper(output_id))` is string, expected numbers"]),
        ({"predictions__value": {"sql": "score +"}}, 2, ["predictions.value", "this SQL cannot be used"]),
        ({"predictions__value": {"sql": "scor * 2"}}, 2, ["predictions.value", "'scor'", "did you mean 'score'?"]),
        ({"predictions__value": "score.raw"}, 4, ["'score' is double, which has no 'raw'"]),
        ({"predictions__time": {"column": "output_id", "format": "%Y"}}, 4, ["of the format %Y", "'p0'"]),
        ({"predictions__time": {"column": "score", "unit": "s"}}, 2, ["predictions.time.unit", "before the year 2000"]),
        ({"predictions__id": ["output_id", "score"]}, 2, ["same number of columns", "2 in predictions, 1 in feedback"]),
        (
            {"feedback__labels": {"positive": ["yes"], "negative": ["no"]}},
            4,
            ["`labels.positive` has 'yes'", "is int64"],
        ),
        ({"feedback__labels": {"positive": [1], "negative": [1]}}, 2, ["a value is in both lists"]),
        ({"feedback": []}, 2, ["there is no feedback log"]),
        ({"predictions__id": {"column": "output_id", "type": "number"}}, 2, ["predictions.id.type", "expected: text"]),
    ],
)
def test_what_does_not_fit_is_one_message(desk: Desk, changes: dict[str, Any], code: int, parts: list[str]) -> None:
    desk.predictions()
    desk.configure(**changes)
    said = desk.run()
    assert said.code in ((code,) if code == 2 else (3, 4)), said
    assert said.has(*parts)


def test_a_condition_that_no_row_meets_is_said_by_the_plan_and_the_run(desk: Desk) -> None:
    desk.configure(predictions__where="score > 5 OR output_id = 'nobody'")
    assert desk.call("plan", str(desk.config), "--as-of", "2024-02-01").has(f"predictions.where keeps none of {N} rows")
    said = desk.run()
    assert said.has("no prediction is left: check `predictions.where`, score > 5 OR output_id = 'nobody'")


def test_the_plan_says_how_many_rows_a_condition_keeps(desk: Desk) -> None:
    desk.configure(predictions__where="score > 0.5", feedback__where="label IS NOT NULL")
    assert desk.call("plan", str(desk.config), "--as-of", "2024-02-01").has(
        "predictions.where keeps 3 of 6 rows", "feedback.where keeps 6 of 6 rows"
    )
    assert desk.run().code == 0
    assert desk.counts() == (3, 3)
    assert audited(desk) == {"orphan": 3}


def test_ids_that_never_match_are_said_with_an_example(desk: Desk) -> None:
    desk.feedback(prefix="q")
    said = desk.run()
    assert said.code == 3
    assert said.has(
        "nothing is labelled: 6 rows of feedback have the id of no prediction, for example q0", "`feedback.id`"
    )


def test_a_label_that_nobody_mapped_is_set_aside_with_its_ids(desk: Desk) -> None:
    desk.feedback(label=["yes", "no", "Yes", "yes", None, "maybe"])
    desk.configure(feedback__labels={"positive": ["yes"], "negative": ["no"]})
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: value is in neither list of labels", "p2")
    assert audited(desk) == {"invalid: value is in neither list of labels": 2, "withdrawn": 1}
    assert desk.counts() == (6, 3)


def test_an_unquoted_yes_is_a_boolean_in_yaml_and_said_so(desk: Desk) -> None:
    desk.feedback(label=["yes", "no", "yes", "yes", "no", "no"])
    desk.configure(feedback__labels={"positive": [True], "negative": [False]})
    assert desk.run().has("`labels.positive` has true: write the text in quotes")


def test_a_field_that_only_some_files_have_sets_the_others_aside(desk: Desk) -> None:
    desk.predictions("a.parquet", score=None, output=structs("score", "version"))
    desk.predictions("b.parquet", prefix="b", score=None, output=structs("version"))
    desk.configure(predictions__value="output.score")
    said = desk.run()
    assert said.code == 3
    assert said.has("b.parquet", "no field 'score' in 'output', only version")
    assert desk.counts() == (6, 6)


def test_an_id_with_a_missing_part_is_set_aside_and_samples_show_the_parts(desk: Desk) -> None:
    models = ["a", "a", None, "a", "b", "b"]
    desk.predictions(model=models)
    desk.feedback(model=["a", "a", "a", "a", "b|", "b"])
    desk.configure(predictions__id=["output_id", "model"], feedback__id=["output_id", "model"])
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: a part of the id is missing")
    rows = sli.read(desk.config, table="audit")
    [orphans] = rows[rows["check"] == "orphan"]["samples"]
    assert list(orphans) == ["p2|a", "p4|b|"]
    assert desk.counts() == (5, 4)


def test_parts_of_ids_that_hold_the_mark_between_parts_stay_apart(desk: Desk) -> None:
    desk.predictions(output_id=["a|b", "a", "a\\", "x", "y", "z"], model=["c", "b|c", "|c", "m", "m", "m"])
    desk.feedback(output_id=["a|b", "a", "a\\", "x", "y", "z"], model=["c", "b|c", "|c", "m", "m", "m"])
    desk.configure(predictions__id=["output_id", "model"], feedback__id=["output_id", "model"])
    assert desk.run().code == 0
    assert desk.counts() == (6, 6)
    assert audited(desk) == {}


def test_two_feedback_logs_may_not_read_one_file(desk: Desk) -> None:
    one = {"path": str(desk.root / "feedback"), "id": "output_id", "time": "known_at", "value": "label"}
    desk.configure(feedback=[one, one])
    said = desk.run()
    assert said.code == 2
    assert said.has("two feedback logs have a file in common", "feedback[1].path")


def test_a_changed_condition_recomputes(desk: Desk) -> None:
    assert desk.run().code == 0
    desk.configure(predictions__where="score > 0.5")
    assert desk.run().has("changed")
    assert desk.counts() == (3, 3)


def test_a_column_added_since_the_run_is_a_config_that_differs(desk: Desk) -> None:
    desk.predictions(region=["a", "b"] * 3)
    assert desk.run().code == 0
    said = desk.call("verify", str(desk.config), "--set", "predictions.columns=[region]")
    assert said.code == 2
    assert said.has("the config differs from what is published")
