"""`sli init` writes a config that loads and runs, says what it is unsure of, and explains what it cannot use."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sli
from sli.command.cli import main
from sli.command.init import write_config
from sli.config.load import load_config
from sli.errors import ConfigError, InputError, StoreError

START = datetime(2024, 3, 1, 3, tzinfo=UTC)
N = 40


def log(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def times(zone: bool = True) -> list[datetime]:
    return [(START if zone else START.replace(tzinfo=None)) + timedelta(hours=i) for i in range(N)]


IDS = [f"p{i}" for i in range(N)]
SCORES = [i / N for i in range(N)]
LABELS = [i % 3 == 0 for i in range(N)]
ANIMALS = [("cat", 0.75) if i % 3 else ("dog", 0.25) for i in range(N)]
"""The class that is said, and the probability of `cat`."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    regions = ["north", "south"] * (N // 2)
    log(tmp_path / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), score=SCORES, region=regions)
    log(tmp_path / "f/a.parquet", output_id=IDS, known_at=times(), late=LABELS)
    return tmp_path


def write(folder: Path, zone: str = "America/New_York", name: str = "c.yaml") -> str:
    write_config(folder / name, ["p"], ["f"], "./results", zone)
    return (folder / name).read_text()


def test_the_written_config_loads_with_the_guessed_columns(folder: Path) -> None:
    text = write(folder)
    config = load_config(folder / "c.yaml")
    assert (config.predictions.id, config.predictions.time, config.predictions.value) == (
        "output_id",
        "predicted_at",
        "score",
    )
    assert (config.feedback.id, config.feedback.time, config.feedback.value) == ("output_id", "known_at", "late")
    assert (config.task, str(config.since), config.timezone) == ("binary", "2024-02-29", "America/New_York")
    assert "# slice_by: [[], [region]]" in text
    assert "date" not in text.split("slice_by")[2]


def test_every_key_has_a_comment(folder: Path) -> None:
    lines = [line for line in write(folder).splitlines() if ":" in line and not line.startswith(("#", "  -"))]
    assert [line for line in lines if "#" not in line and line not in ("predictions:", "feedback:")] == []


def test_paths_are_right_relative_to_the_folder_of_the_config(folder: Path) -> None:
    (folder / "deep/er").mkdir(parents=True)
    assert "path: ../../p " in write(folder, name="deep/er/c.yaml")
    assert load_config(folder / "deep/er/c.yaml").store == str(folder / "results")
    assert "store: ./results " in write(folder)


def test_numbers_that_are_not_only_0_and_1_are_a_regression(folder: Path) -> None:
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), fare=[i * 1.5 for i in range(N)])
    assert "  - mae" in write(folder)
    assert load_config(folder / "c.yaml").task == "regression"


def test_an_unsure_guess_is_marked_and_names_the_alternatives(folder: Path) -> None:
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), late=LABELS, dropped=LABELS)
    lines = write_config(folder / "c.yaml", ["p"], ["f"], "./results", "UTC")
    assert "# check: the true value; it could also be dropped" in (folder / "c.yaml").read_text()
    assert any("check feedback.value" in line for line in lines)


def test_naive_times_read_as_utc_are_marked(folder: Path) -> None:
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(False), score=SCORES)
    assert "check: predicted_at without a zone" in write(folder, "UTC")


def test_a_repeating_number_is_not_taken_for_the_id(folder: Path) -> None:
    vendor = [i % 2 for i in range(N)]
    log(folder / "p/date=2024-03-01/a.parquet", VendorID=vendor, ride=IDS, predicted_at=times(), score=SCORES)
    log(folder / "f/a.parquet", VendorID=vendor, ride=IDS, known_at=times(), late=LABELS)
    write(folder)
    assert load_config(folder / "c.yaml").predictions.id == "ride"


def test_names_that_yaml_would_misread_are_quoted(folder: Path) -> None:
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), yes=LABELS)
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), **{"a: b #c": SCORES})
    write(folder)
    config = load_config(folder / "c.yaml")
    assert (config.predictions.value, config.feedback.value) == ("a: b #c", "yes")


def test_an_existing_file_is_never_overwritten(folder: Path) -> None:
    (folder / "c.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write(folder)
    assert (folder / "c.yaml").read_text() == "mine"


def test_a_missing_path_an_empty_folder_and_an_unreadable_file_are_told_apart(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken/a.parquet").write_bytes(b"no parquet")
    for path, kind, what in [
        ("nowhere", ConfigError, "does not exist"),
        ("empty", InputError, "has no Parquet files"),
        ("broken", InputError, "no file of the feedback log can be read"),
    ]:
        with pytest.raises(kind, match=what):
            write_config(folder / "c.yaml", ["p"], [path], "./results", "UTC")
    assert not (folder / "c.yaml").exists()


def test_two_missing_paths_are_told_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        write_config(folder / "c.yaml", ["away"], ["gone"], "./results", "UTC")
    assert "--predictions" in str(raised.value)
    assert "--feedback" in str(raised.value)


def test_a_log_without_a_time_names_the_columns_it_has(folder: Path) -> None:
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted=["monday"] * N, score=SCORES)
    with pytest.raises(InputError, match="can be its time") as raised:
        write(folder)
    assert "predicted (string, for example 'monday')" in raised.value.found
    assert "`time: {column: FIELD, format:" in raised.value.todo


def test_all_that_is_missing_is_told_at_once(folder: Path) -> None:
    log(folder / "p/date=2024-03-01/a.parquet", score=SCORES)
    log(folder / "f/a.parquet", known_at=times(), note=["some text"] * N)
    with pytest.raises(InputError) as raised:
        write(folder)
    for what, line in [
        ("the predictions log can be its time", "`predictions: {time: FIELD}`"),
        ("the predictions log can be its id", "`predictions: {id: FIELD}`"),
        ("the feedback log can be its id", "`feedback: {id: FIELD}`"),
        ("the feedback log can be its value", "`feedback: {value: FIELD}`"),
    ]:
        assert f"no column of {what}" in str(raised.value)
        assert line in str(raised.value)


def test_feedback_that_comes_late_or_with_dates_gives_a_longer_horizon_and_early(folder: Path) -> None:
    log(folder / "f/a.parquet", output_id=IDS, known_at=[each + timedelta(days=40) for each in times()], late=LABELS)
    assert "horizon: 60d " in write(folder)
    log(folder / "f/a.parquet", output_id=IDS, known_at=[each.date() for each in times()], late=LABELS)
    text = write(folder, name="d.yaml")
    assert "  early: 1d " in text
    assert "# check: 98% of the labels seen are known before their prediction" in text
    assert load_config(folder / "d.yaml").horizon.micros == 7 * 86_400_000_000


def test_several_paths_and_patterns_are_one_log(folder: Path) -> None:
    log(folder / "q/a.parquet", output_id=["q1"], predicted_at=times()[:1], score=[0.5], region=["north"])
    write_config(folder / "c.yaml", ["p/*/*.parquet", "q"], ["f"], "./results", "UTC")
    assert "  path: [p/*/*.parquet, q] " in (folder / "c.yaml").read_text()
    assert sli.plan(folder / "c.yaml", as_of="2024-04-01").tiles == N


def test_times_that_are_all_null_are_told(folder: Path) -> None:
    none = pa.nulls(N, pa.timestamp("us", "UTC"))
    log(folder / "f/a.parquet", output_id=IDS, known_at=none, late=LABELS)
    assert "# check: known_at is null in all rows that were looked at" in write(folder)
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=none, score=SCORES)
    with pytest.raises(InputError, match="no prediction has a time") as raised:
        write(folder, name="d.yaml")
    assert raised.value.found == "predicted_at, which is null in all 40 rows that were looked at"
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=none, sent_at=times(), score=SCORES)
    assert "  time: sent_at " in write(folder, name="d.yaml")


def test_labels_and_scores_within_json_and_odd_columns_are_read(folder: Path) -> None:
    outputs = [{"y": score} for score in SCORES]
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), **{"out put": outputs})
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), body=[json.dumps({"label": each}) for each in LABELS])
    text = write(folder)
    assert """  value: {sql: '"out put".y'} """ in text
    assert "  labels: {positive: ['true'], negative: ['false']} " in text
    sli.run(folder / "c.yaml", as_of="2024-04-01")
    found = sli.read(folder / "c.yaml", sli="accuracy", grain="cumulative").value.iloc[-1]
    assert found == pytest.approx(sum((score >= 0.5) == label for score, label in zip(SCORES, LABELS, strict=True)) / N)


@pytest.mark.parametrize("label", [LABELS, ["default" if each else "paid" for each in LABELS]])
def test_decisions_in_other_words_than_the_labels_are_the_prediction(folder: Path, label: list[Any]) -> None:
    said = ["reject" if i % 2 else "approve" for i in range(N)]
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), decision=said, age=list(range(N)))
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), label=label)
    text = write(folder)
    assert "  value: decision " in text
    assert "  labels: {positive: [reject], negative: [approve]} " in text
    assert f"does reject predict {'label true or 1' if label is LABELS else 'default'}? If not, swap the two" in text
    assert ("{positive: [default], negative: [paid]}" in text) == (label is not LABELS)
    assert sli.plan(folder / "c.yaml", as_of="2024-04-01").tiles == N


def test_feedback_of_no_rows_is_no_problem(folder: Path) -> None:
    none = {"output_id": pa.array([], pa.string()), "known_at": pa.array([], pa.timestamp("us", "UTC"))}
    log(folder / "f/a.parquet", **none, late=pa.array([], pa.bool_()))
    assert "value: late" in write(folder)


def test_labels_in_the_rows_of_predictions_without_a_time_are_known_at_once(folder: Path) -> None:
    labels = [label if i % 4 else None for i, label in enumerate(LABELS)]
    log(folder / "one.parquet", output_id=IDS, timestamp=times(), score=SCORES, label=labels)
    write_config(folder / "one.yaml", ["one.parquet"], ["one.parquet"], "./results", "UTC")
    text = (folder / "one.yaml").read_text()
    assert "  where: label IS NOT NULL " in text
    assert "  time: {from: prediction} " in text
    assert "so it counts as known with its prediction" in text


def test_the_command_ends_with_a_plan_and_keeps_a_config_whose_plan_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise StoreError("the tables cannot be read")

    given = ["--predictions", "p", "--feedback", "f"]
    assert main(["init", "c.yaml", *given]) == 0
    assert "recompute 40 of 40 hours" in capsys.readouterr().out
    monkeypatch.setattr("sli.command.init.plan", fail)
    assert main(["init", "d.yaml", *given]) == 4
    assert "d.yaml is written, but a run with it would fail:\nthe tables cannot be read" in capsys.readouterr().err
    assert (folder / "d.yaml").exists()


def test_an_unreadable_file_beside_good_ones_is_reported(folder: Path) -> None:
    (folder / "p/0.parquet").write_bytes(b"no parquet")
    assert any("0.parquet" in line for line in write_config(folder / "c.yaml", ["p"], ["f"], "./results", "UTC"))


def classified(folder: Path, classes: list[Any], truth: str = "species", **more: Any) -> None:
    """Logs of a classifier that is right two times in three."""
    predicted = [classes[i % len(classes)] for i in range(N)]
    true = [classes[(i + (i % 3 == 0)) % len(classes)] for i in range(N)]
    regions = ["north", "south"] * (N // 2)
    given = {"output_id": IDS, "predicted_at": times(), "region": regions, "predicted_class": predicted, **more}
    log(folder / "p/date=2024-03-01/a.parquet", **given)
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), **{truth: true})


@pytest.mark.parametrize(
    ("classes", "expected", "written"),
    [
        (["dog", "cat", "lynx"], ("cat", "dog", "lynx"), "[cat, dog, lynx]"),
        ([10, 9, 2], ("2", "9", "10"), "[2, 9, 10]"),
        (["yes", "a, b", "no"], ("a, b", "no", "yes"), "['a, b', 'no', 'yes']"),
    ],
)
def test_classes_that_both_logs_have_are_a_multiclass_task(
    folder: Path, classes: list[Any], expected: tuple[str, ...], written: str
) -> None:
    classified(folder, classes)
    text = write(folder)
    config = load_config(folder / "c.yaml")
    assert (config.task, config.classes) == ("multiclass", expected)
    assert (config.predictions.value, config.feedback.value) == ("predicted_class", "species")
    assert f"classes: {written} " in text
    assert "# check: these were seen; list every class" in text
    assert ("if they are amounts, this is a regression" in text) == isinstance(classes[0], int)
    assert [each.name for each in config.declared] == [
        "accuracy",
        "f1",
        *(f"recall_{name}" for name in expected),
        "feedback_delay",
    ]


def test_a_dictionary_column_of_classes_is_text(folder: Path) -> None:
    classified(folder, ["cat", "dog"])
    coded = pa.array(["cat", "dog"] * (N // 2)).dictionary_encode()
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), animal=coded)
    write(folder)
    assert load_config(folder / "c.yaml").classes == ("cat", "dog")


def test_columns_of_probabilities_named_after_the_classes_are_offered(folder: Path) -> None:
    classified(folder, ["cat", "Big dog"], p_cat=SCORES, p_big_dog=SCORES)
    [line] = [line for line in write(folder).splitlines() if "scores:" in line]
    assert line.startswith("  # scores: {Big dog: p_big_dog, cat: p_cat}  # check: ")
    changed = (folder / "c.yaml").read_text().replace("  # scores:", "  scores:").replace("  - f1", "  - log_loss")
    (folder / "d.yaml").write_text(changed)
    assert load_config(folder / "d.yaml").predictions.scores == {"Big dog": "p_big_dog", "cat": "p_cat"}


def test_scores_within_json_texts_become_numbers(folder: Path) -> None:
    bodies = [json.dumps({"said": said, "p": {"cat": p, "dog": 1 - p}}) for said, p in ANIMALS]
    lists = [json.dumps({"said": said, "p": [p, 1 - p]}) for said, p in ANIMALS]
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), animal=["cat", "dog"] * (N // 2))
    for name, texts, scores in [
        ("c.yaml", bodies, {name: f"(TRY_CAST((body ->> '$.p.{name}') AS DOUBLE))" for name in ("cat", "dog")}),
        ("d.yaml", lists, "(TRY_CAST((body ->> '$.p') AS DOUBLE[]))"),
    ]:
        log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), body=texts)
        write(folder, name=name)
        assert load_config(folder / name).predictions.scores == scores
        assert sli.plan(folder / name, as_of="2024-04-01").tiles == N


@pytest.mark.parametrize(
    ("columns", "value"),
    [
        ({"score": [str(score) for score in SCORES]}, "{sql: TRY_CAST(score AS DOUBLE)}"),
        ({"output": [[1 - score, score] for score in SCORES]}, "'output[2]'"),
    ],
)
def test_a_score_in_a_text_or_a_list_of_two_is_found_if_there_is_no_other(
    folder: Path, columns: dict[str, Any], value: str
) -> None:
    log(folder / "p/date=2024-03-01/a.parquet", output_id=IDS, predicted_at=times(), **columns)
    assert f"  value: {value} " in write(folder)
    assert sli.plan(folder / "c.yaml", as_of="2024-04-01").tiles == N


@pytest.mark.parametrize(
    "more",
    [
        {"p_cat": SCORES},
        {"p_cat": SCORES, "p_dog": [2.5] * N},
        {"p_cat": SCORES, "p_dog": SCORES, "cat_score": SCORES, "dog_score": SCORES},
    ],
)
def test_columns_that_may_or_may_not_be_the_probabilities_are_not(folder: Path, more: dict[str, Any]) -> None:
    classified(folder, ["cat", "dog"], **more)
    assert "scores:" not in write(folder)


def test_a_text_that_both_logs_carry_is_no_class_beside_a_label(folder: Path) -> None:
    regions = ["north", "south"] * (N // 2)
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), region=regions, late=LABELS)
    write(folder)
    config = load_config(folder / "c.yaml")
    assert (config.task, config.feedback.value) == ("binary", "late")


def test_few_whole_numbers_that_the_predictions_do_not_hold_are_amounts(folder: Path) -> None:
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), rooms=[i % 4 for i in range(N)])
    assert "check: rooms has only 4 values; if they are classes, score must be the predicted one" in write(folder)
    assert load_config(folder / "c.yaml").task == "regression"


def test_a_feature_of_few_whole_numbers_is_no_predicted_class(folder: Path) -> None:
    seats = [1 + i % 3 for i in range(N)]
    given = {"output_id": IDS, "predicted_at": times(), "score": SCORES, "passenger_class": seats}
    log(folder / "p/date=2024-03-01/a.parquet", **given)
    for labels, task in (([i % 2 for i in range(N)], "binary"), ([1 + i % 4 for i in range(N)], "regression")):
        log(folder / "f/a.parquet", output_id=IDS, known_at=times(), label=labels)
        write(folder, name=f"{task}.yaml")
        config = load_config(folder / f"{task}.yaml")
        assert (config.task, config.predictions.value) == (task, "score")


def test_classes_that_nobody_predicted_are_explained(folder: Path) -> None:
    animals = [("cat", "dog", "lynx")[i % 3] for i in range(N)]
    log(folder / "f/a.parquet", output_id=IDS, known_at=times(), animal=animals)
    with pytest.raises(InputError, match="can be its value") as raised:
        write(folder)
    assert "a column of classes (text or integers) in both logs" in raised.value.expected


@pytest.mark.parametrize(("column", "is_query"), [("session_id", True), ("search", True), ("n_requests", False)])
def test_a_column_like_a_query_is_mentioned(folder: Path, column: str, is_query: bool) -> None:
    queries = [f"q{i // 4}" for i in range(N)]
    given = {"output_id": IDS, "predicted_at": times(), "score": SCORES, column: queries}
    log(folder / "p/date=2024-03-01/a.parquet", **given)
    text = write(folder)
    line = f"# Ranked within one {column}? Then task: ranking, and under predictions `query: {column}`."
    assert (line in text) == is_query
    assert load_config(folder / "c.yaml").task == "binary"


def test_a_log_of_a_classifier_runs_and_verifies(folder: Path) -> None:
    classified(folder, ["cat", "dog", "lynx"])
    write(folder)
    sli.run(folder / "c.yaml", as_of="2024-04-01")
    found = sli.read(folder / "c.yaml", sli="accuracy", grain="cumulative").value.iloc[-1]
    assert found == pytest.approx(sum(i % 3 != 0 for i in range(N)) / N)
    assert sli.verify(folder / "c.yaml", windows=None).equal


@pytest.mark.parametrize(
    ("label", "score"),
    [
        ({"label": LABELS}, {"score": SCORES}),
        ({"actual": [float(each) for each in LABELS]}, {"p": SCORES}),
        ({"outcome": [int(each) for each in LABELS]}, {"churn_risk": SCORES}),
        ({"true_class": ["a", "b"] * (N // 2)}, {"guess": ["a"] * N}),
    ],
)
def test_of_one_table_for_both_logs_the_label_is_never_the_score(
    folder: Path, label: dict[str, Any], score: dict[str, Any]
) -> None:
    log(folder / "one.parquet", output_id=IDS, timestamp=times(), **label, **score)
    said = write_config(folder / "one.yaml", ["one.parquet"], ["one.parquet"], "./results", "UTC")
    config = load_config(folder / "one.yaml")
    [truth], [output] = label, score
    assert (config.predictions.value, config.feedback.value) == (output, truth)
    left_out = f"not {truth}, equal to the label {truth} of the feedback for every id"
    assert left_out in (folder / "one.yaml").read_text()
    assert any(left_out in line for line in said)
    sli.run(config, as_of="2024-04-01")
    assert sli.read(config, sli="accuracy", grain="cumulative").value.iloc[-1] < 1


def test_the_label_under_another_name_is_the_prediction_only_if_nothing_else_can_be(folder: Path) -> None:
    rows = {"output_id": IDS, "predicted_at": times(), "prediction": LABELS}
    log(folder / "p/date=2024-03-01/a.parquet", **rows, risk=SCORES)
    assert "value: risk" in write(folder)
    log(folder / "p/date=2024-03-01/a.parquet", **rows)
    [line] = [line for line in write(folder, name="d.yaml").splitlines() if "value: prediction" in line]
    assert "# check: equal to the label late of the feedback for every id" in line


def test_a_table_of_labels_alone_has_no_score(folder: Path) -> None:
    log(folder / "one.parquet", output_id=IDS, timestamp=times(), label=LABELS)
    with pytest.raises(InputError, match="no column of the predictions log can be its value") as caught:
        write_config(folder / "one.yaml", ["one.parquet"], ["one.parquet"], "./results", "UTC")
    assert "not label, equal to the label label" in caught.value.found


def test_a_fifo_beside_a_log_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "p/a.parquet")
    assert "value: score" in write(folder)
