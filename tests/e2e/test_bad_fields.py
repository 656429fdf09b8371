"""Fields, conditions, labels and ids that do not fit the logs: a message that says what to do, and nothing is lost."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk, N

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
        (
            {"predictions__time": {"column": "output_id", "format": "%Q"}},
            2,
            ["predictions.time.format", "not a format"],
        ),
        ({"feedback__labels": {"positive": [float("inf")], "negative": [0]}}, 2, ["a label must be finite"]),
        ({"predictions__where": " "}, 2, ["predictions.where", "`where` is empty"]),
        ({"predictions__id": {"sql": "upper(output_i)"}}, 2, ["predictions.id", "'output_i'"]),
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
        "nothing is labelled: 6 rows of feedback have the id of no prediction near them in time, for example q0",
        "`feedback.id`",
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


S = 1_705_312_800


def test_times_that_cannot_be_are_counted(desk: Desk) -> None:
    desk.predictions(predicted_at=[S, S * 1000, S * 10**6, S + 60, S + 120, 7])
    desk.configure(predictions__time={"column": "predicted_at", "unit": "s"})
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: time cannot be read, 2 rows")
    assert desk.counts()[0] == 3


def test_texts_that_are_nearly_iso_are_no_times(desk: Desk) -> None:
    texts = ["2024-01-15T10:00", "2024-01-15 10:05 PM", "2024-01-15T10:00 GMT", "infinity", "2024-01-15T10:00:00Z "]
    desk.predictions(predicted_at=[*texts, "2024-01-15T11:00:00.123456+01"])
    assert desk.run().has("invalid: time cannot be read, 4 rows")
    assert desk.counts()[0] == 2
    assert desk.call("verify", str(desk.config)).code == 0


def test_of_names_of_zones_only_utc_and_gmt_are_read(desk: Desk) -> None:
    zones = ["GMT", "UTC", "CST", "Europe/Berlin", "EST", "GMT"]
    desk.predictions(predicted_at=[f"15.01.2024 10:0{place} {name}" for place, name in enumerate(zones)])
    desk.configure(predictions__time={"column": "predicted_at", "format": "%d.%m.%Y %H:%M %Z"}, timezone="Asia/Tokyo")
    assert desk.run().has("invalid: time cannot be read, 3 rows")
    assert sli.read(desk.config).predictions.sum() == 3
    assert desk.call("verify", str(desk.config)).code == 0


def test_names_of_json_fields_may_have_any_letters(desk: Desk) -> None:
    desk.predictions(score=None, payload=[json.dumps({"größe": score}, ensure_ascii=False) for score in SCORES])
    desk.configure(predictions__value="payload.größe", slis=["accuracy"])
    assert desk.run().code == 0
    assert sli.read(desk.config).value.notna().all()


def test_text_that_is_not_json_takes_no_label_back(desk: Desk) -> None:
    good = [json.dumps({"l": place % 2}) for place in range(N)]
    desk.feedback("a.parquet", label=good)
    desk.feedback("b.parquet", n=1, label=['{"l": 1'], known_at=pa.array([TEN + timedelta(hours=2)], ZONED))
    desk.configure(feedback__value="label.l")
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: value is not a finite number", "b.parquet")
    assert desk.counts() == (6, 6)
    assert desk.call("verify", str(desk.config)).code == 0


def test_an_id_that_is_nan_is_no_id_and_a_large_one_keeps_its_digits(desk: Desk) -> None:
    desk.predictions(output_id=[1.0, 2.0, float("nan"), 1e16, 5.0, 6.5])
    desk.feedback(output_id=["1", "2", "3", "10000000000000000", "5", "6.5"])
    typed = {"column": "output_id", "type": "text"}
    desk.configure(predictions__id=typed, feedback__id=typed)
    assert desk.run().has("invalid: no id")
    assert desk.counts() == (5, 5)
    assert desk.call("verify", str(desk.config)).code == 0


def test_labels_of_files_of_several_types_may_be_listed_together(desk: Desk) -> None:
    desk.feedback("a.parquet", label=[True, False] * 3)
    desk.feedback("b.parquet", prefix="q", label=[1, 0] * 3)
    desk.predictions("b.parquet", prefix="q")
    desk.configure(feedback__labels={"positive": [1, True], "negative": [0, False]})
    assert desk.run().code == 0
    assert desk.counts() == (12, 12)
    desk.configure(feedback__labels={"positive": ["1"], "negative": ["0"]})
    assert desk.run().has("`labels.positive` has '1': write it without quotes")


def test_a_list_of_scores_of_another_length_counts_for_no_class(desk: Desk) -> None:
    desk.predictions(score=["a", "b"] * 3, scores=[[0.9, 0.1]] * 5 + [[0.5, 0.3, 0.2]])
    desk.feedback(label=["a", "b"] * 3)
    desk.configure(task="multiclass", classes=["a", "b"], predictions__scores="scores", slis=["log_loss", "accuracy"])
    assert desk.run().code == 0
    values = sli.read(desk.config).set_index("sli").value
    assert values.log_loss == pytest.approx(-(3 * math.log(0.9) + 2 * math.log(0.1)) / 5)


def test_sql_may_write_a_column_in_another_case(desk: Desk) -> None:
    desk.predictions(env=["Prod"] * N)
    desk.configure(predictions__value={"sql": "SCORE * 1"}, predictions__where="ENV = 'Prod'")
    assert desk.run().code == 0
    assert desk.call("verify", str(desk.config)).code == 0


def test_a_text_from_json_is_no_number_for_a_state_until_it_is_cast(desk: Desk) -> None:
    desk.predictions(payload=['{"amount": 2}', '{"amount": "abc"}', "{}", '{"amount": 1}', "{", '{"amount": 0.5}'])
    cost = {"name": "cost", "states": {"total": "sum(amount)"}, "value": "total"}
    desk.configure(predictions__columns={"amount": "payload.amount"}, slis=["accuracy", cost])
    said = desk.run()
    assert said.code == 2
    assert said.has("slis, cost, states.total", "'amount' is text", "TRY_CAST(amount AS DOUBLE)")
    cost["states"] = {"total": "sum(TRY_CAST(amount AS DOUBLE))"}
    desk.configure(predictions__columns={"amount": "payload.amount"}, slis=["accuracy", cost])
    assert desk.run().code == 0
    assert list(sli.read(desk.config, sli="cost").value) == [3.5]
