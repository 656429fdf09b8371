"""Bad input through the command: each kind has a clear message and an exit code, and the good rows around it count."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from desk import TEN, ZONED, Desk, N

import sli


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def published(root: Path, **changes: Any) -> Path:
    """A folder as a desk's, with an hour of two sites published."""
    desk = Desk(root, None)  # type: ignore[arg-type]
    desk.configure(**changes)
    desk.predictions(site=["a", "b"] * 3)
    desk.feedback()
    sli.run(desk.config, as_of="2024-02-01")
    return root


@pytest.fixture(scope="module")
def whole_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def sites_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("sites"), slice_by=[[], ["site"]])


@pytest.fixture
def whole(whole_root: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A desk that has published, for tests that only read."""
    return Desk(whole_root, capsys)


@pytest.fixture
def sites(sites_root: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """The same by site."""
    return Desk(sites_root, capsys)


def spoil(path: Path, column: str) -> None:
    """Overwrite the pages of a column with bytes that are none; the footer stays as it is."""
    group = pq.read_metadata(path).row_group(0)
    [chunk] = [c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == column]
    with path.open("r+b") as file:
        file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        file.write(b"\xff" * chunk.total_compressed_size)


# Paths and files


@pytest.mark.parametrize("log", ["predictions", "feedback"])
def test_a_path_that_does_not_exist_is_named_with_its_key(desk: Desk, log: str) -> None:
    desk.configure(**{f"{log}__path": "nowhere"})
    said = desk.run()
    assert said.code == 2
    assert said.has(
        f"the path of the {log} log does not exist", f"{log}.path", str(desk.root / "nowhere"), f"check `{log}.path`"
    )
    assert desk.untouched


def test_an_empty_predictions_folder_is_named(desk: Desk) -> None:
    (desk.root / "predictions/a.parquet").unlink()
    said = desk.run()
    assert said.code == 4
    assert said.has("the predictions log is empty", str(desk.root / "predictions"), "Parquet files")
    assert desk.untouched


def test_an_empty_feedback_folder_means_that_nothing_is_labelled_yet(desk: Desk) -> None:
    (desk.root / "feedback/a.parquet").unlink()
    said = desk.run()
    assert said.code == 3
    assert said.has("nothing is labelled", "an empty folder")
    assert desk.counts() == (6, 0)


@pytest.mark.parametrize("log", ["predictions", "feedback"])
def test_a_file_that_lost_its_footer_is_set_aside_and_the_others_count(desk: Desk, log: str) -> None:
    path = getattr(desk, log)("b.parquet", prefix="b")
    path.write_bytes(path.read_bytes()[:-20])
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside", log, "unreadable", str(path))
    assert desk.counts() == (6, 6)
    assert (log, "unreadable") in desk.audit()
    assert desk.run().code == 0, "the same bad file is not reported again by a run that finds nothing to do"


@pytest.mark.parametrize(
    ("log", "column"), [("predictions", "score"), ("predictions", "output_id"), ("feedback", "label")]
)
def test_a_file_with_a_broken_page_is_set_aside_and_the_others_count(desk: Desk, log: str, column: str) -> None:
    path = getattr(desk, log)("b.parquet", prefix="b")
    spoil(path, column)
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside", log, "damaged", "6 rows", str(path))
    assert desk.counts() == (6, 6)
    assert desk.audit() == {(log, "damaged"): 6}
    assert desk.run().code == 0


@pytest.mark.parametrize(("log", "column"), [("predictions", "score"), ("feedback", "label")])
def test_broken_files_in_several_tasks_are_all_set_aside(desk: Desk, log: str, column: str) -> None:
    desk.configure(memory="1KB")  # so little that every day is a task of its own
    for day in range(1, 5):
        when = [TEN + timedelta(days=day, minutes=i) for i in range(N)]
        later = [each + timedelta(hours=3) for each in when]
        paths = {
            "predictions": desk.predictions(f"{day}.parquet", prefix=f"{day}-", predicted_at=pa.array(when, ZONED)),
            "feedback": desk.feedback(f"{day}.parquet", prefix=f"{day}-", known_at=pa.array(later, ZONED)),
        }
        if day in (1, 4):
            spoil(paths[log], column)
    said = desk.run()
    assert said.code == 3
    assert said.has(f"{log}/1.parquet", f"{log}/4.parquet")
    found = sli.read(desk.config)
    expected = [(6, 6), (6, 6), (6, 6)] if log == "predictions" else [(6, 6), (6, 0), (6, 6), (6, 6), (6, 0)]
    assert list(zip(found.predictions, found.labelled, strict=True)) == expected


def test_a_file_repaired_later_counts_from_the_next_run_on(desk: Desk) -> None:
    path = desk.predictions("b.parquet", prefix="b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert desk.run().code == 3
    path.write_bytes(whole)
    assert desk.backfill("2024-01-15", "2024-01-16").code == 0
    assert desk.counts() == (12, 6)
    assert newest_audit(desk) == set()


def newest_audit(desk: Desk) -> set[tuple[str, str]]:
    run = sli.read(desk.config, table="runs").sort_values("sequence").run_id.iloc[-1]
    rows = sli.read(desk.config, table="audit")
    return {(row.log, row.check) for row in rows[rows.run_id == run].itertuples()}


# Columns and types


def test_a_file_without_a_needed_column_is_set_aside_and_names_the_nearest_one(desk: Desk) -> None:
    desk.predictions("b.parquet", prefix="b", score=None, scores=[0.5] * N)
    said = desk.run()
    assert said.code == 3
    assert said.has("missing column", "b.parquet", "no column 'score'", "did you mean 'scores'?")
    assert desk.counts() == (6, 6)


def test_a_column_that_no_file_has_fails_before_any_work(desk: Desk) -> None:
    desk.configure(predictions__value="scor")
    said = desk.run()
    assert said.code == 2
    assert said.has(
        "no file of the predictions log has a column 'scor'", "predictions.value", "a.parquet", "did you mean 'score'?"
    )
    assert desk.untouched


def test_integer_ids_against_text_ids_are_told_apart_and_not_guessed(desk: Desk) -> None:
    desk.feedback(output_id=list(range(N)))
    said = desk.run()
    assert said.code == 3
    assert said.has("nothing is labelled", "feedback, wrong id type, 6 rows", "int64", "string")
    assert desk.counts() == (6, 0)


def test_one_file_with_ids_of_another_type_is_set_aside(desk: Desk) -> None:
    desk.feedback("b.parquet", output_id=list(range(N)))
    said = desk.run()
    assert said.code == 3
    assert said.has("feedback, wrong id type, 6 rows", "b.parquet", "int64", "string")
    assert desk.counts() == (6, 6)


def test_a_text_label_is_named_with_its_column_and_type(desk: Desk) -> None:
    desk.feedback(label=["yes", "no"] * 3)
    said = desk.run()
    assert said.code == 3
    assert said.has("nothing is labelled", "a.parquet", "column 'label' is string, expected numbers or booleans")
    assert desk.counts() == (6, 0)


def test_one_file_with_text_labels_is_set_aside(desk: Desk) -> None:
    desk.feedback("b.parquet", label=["yes", "no"] * 3)
    said = desk.run()
    assert said.code == 3
    assert said.has("feedback, wrong type, 6 rows", "b.parquet", "column 'label' is string")
    assert desk.counts() == (6, 6)


def test_texts_that_are_not_iso_times_are_named_with_the_key_that_reads_them(desk: Desk) -> None:
    desk.predictions(predicted_at=["15/01/2024 10:00"] * N)
    said = desk.run()
    assert said.code == 4
    assert said.has("'15/01/2024 10:00' is not ISO 8601", "`time: {column: predicted_at, format: ...}`")


def test_iso_texts_are_times_and_a_text_that_is_none_is_set_aside(desk: Desk) -> None:
    desk.predictions(
        predicted_at=["2024-01-15T10:00", "2024-01-15T10:00Z", "soon", *["2024-01-15T11:00+01:00"] * (N - 3)]
    )
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: time cannot be read", "a.parquet")
    assert desk.counts()[0] == N - 1


def test_a_unit_that_cannot_be_is_an_error_that_names_the_likely_one(desk: Desk) -> None:
    desk.predictions(predicted_at=[1_705_312_800_000 + place for place in range(N)])
    said = desk.run()
    assert said.code == 4
    assert said.has("column 'predicted_at' is int64, expected timestamps", "`unit:`")
    desk.configure(predictions__time={"column": "predicted_at", "unit": "s"})
    said = desk.run()
    assert said.code == 2
    assert said.has("predictions.time.unit", "in unit s every time", "expected: ms")
    desk.configure(predictions__time={"column": "predicted_at", "unit": "ms"})
    assert desk.run().code == 0
    assert desk.counts()[0] == N


def test_a_slice_column_that_no_file_has_is_named(desk: Desk) -> None:
    desk.configure(slice_by=[[], ["region"]])
    said = desk.run()
    assert said.code == 2
    assert said.has("no file of the predictions log has a column 'region'", "slice_by")


# Values


def test_a_label_of_one_half_in_a_binary_task_is_set_aside_with_its_ids(desk: Desk) -> None:
    desk.feedback(label=[0.5, 1.0, 0.0, 1.0, 0.0, 1.0])
    said = desk.run()
    assert said.code == 3
    assert said.has("invalid: label is neither 0 nor 1", "a.parquet", "for example p0")
    assert desk.counts() == (6, 5)
    assert desk.audit() == {("feedback", "invalid: label is neither 0 nor 1"): 1}


def test_scores_that_are_no_probabilities_are_set_aside_by_reason(desk: Desk) -> None:
    desk.predictions(score=[math.nan, math.inf, -math.inf, 1.5, 0.2, 0.3])
    said = desk.run()
    assert said.code == 3
    assert said.has("value is NaN or infinite, 3 rows", "value outside 0..1", "for example p3", "a.parquet")
    assert desk.counts() == (2, 2)


def test_files_with_and_without_zones_meet_at_the_same_instants(desk: Desk) -> None:
    desk.configure(timezone="America/New_York")
    local = [datetime(2024, 1, 15, 5, 30, i) for i in range(N)]  # 10:30 UTC
    for name, unit in (("b", "ns"), ("c", "ms"), ("d", "us")):
        desk.predictions(f"{name}.parquet", prefix=name, predicted_at=pa.array(local, pa.timestamp(unit)))
        desk.feedback(f"{name}.parquet", prefix=name)
    said = desk.run()
    assert said.code == 0
    assert said.has()
    assert desk.counts() == (24, 24)
    assert desk.audit() == {}


def test_feedback_years_before_its_prediction_is_audited_and_does_not_count(desk: Desk) -> None:
    early = [datetime(1, 1, 1), datetime(1969, 12, 31), *[datetime(2011, 1, 1)] * 4]
    desk.feedback(known_at=pa.array(early, pa.timestamp("us")))
    said = desk.run()
    assert said.code == 3
    assert said.has(
        "nothing is labelled: 6 rows of feedback have the id of no prediction near them", "the times of both"
    )
    assert desk.counts() == (6, 0)
    assert desk.audit() == {("feedback", "orphan"): 6}


def test_a_time_beyond_the_year_9999_is_no_crash(desk: Desk) -> None:
    # Microseconds taken for milliseconds: the year 33658.
    desk.predictions("b.parquet", prefix="b", predicted_at=pa.array([10**18] * N, pa.int64()).cast(ZONED))
    said = desk.run()
    assert said.code == 3
    assert said.has("wrong time", "b.parquet", "was it written in another unit")
    assert desk.counts() == (6, 6)


def test_many_orphans_are_counted_and_five_are_named(desk: Desk) -> None:
    desk.feedback("ghosts.parquet", prefix="ghost", n=20_000)
    assert desk.run().code == 0
    assert desk.counts() == (6, 6)
    [row] = sli.read(desk.config, table="audit").itertuples()
    assert (row.log, row.check, row.count, len(row.samples)) == ("feedback", "orphan", 20_000, 5)
    shown = desk.call("show", str(desk.config), "--table", "audit")
    assert shown.code == 0
    assert shown.has("20,000 orphan", "no prediction near it in time has this id")


def test_the_audit_as_shown_names_a_file_and_no_count_that_is_unknown(desk: Desk) -> None:
    for name in ("broken.parquet", "torn.parquet"):
        (desk.root / "predictions" / name).write_bytes(b"hello")
    assert desk.run().code == 3
    shown = desk.call("show", str(desk.config), "--table", "audit")
    assert shown.has("predictions: rows unknown, unreadable in broken.parquet and 1 more (")
    assert "0 unreadable" not in shown.out


def test_a_slice_column_of_many_values_gives_a_row_for_each(desk: Desk) -> None:
    desk.configure(slice_by=[[], ["user"]])
    desk.predictions(n=5_000, user=[f"u{i}" for i in range(5_000)])
    assert desk.run().code == 0
    assert desk.counts() == (5_000, 6)
    assert len(sli.read(desk.config, slice_by=["user"])) == 5_000
    one = sli.read(desk.config, slice={"user": "u3"}).iloc[0]
    assert (one.predictions, one.labelled, one.value) == (1, 1, 1.0)


# The config


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"thresholds": 0.5}, ["unknown key 'thresholds'", "did you mean 'threshold'?"]),
        ({"predictions__tme": "x"}, ["unknown key 'tme'", "predictions.tme", "did you mean 'time'?"]),
        ({"feedback__erly": "1h"}, ["unknown key 'erly'", "feedback.erly", "did you mean 'early'?"]),
        ({"slis": ["acuracy"]}, ["there is no SLI 'acuracy'", "slis[0]", "did you mean 'accuracy'?"]),
        ({"slis": ["mae"]}, ["there is no SLI 'mae' for a binary task", "regression"]),
        ({"slis": [{"sli": "quantile", "qq": 0.5}]}, ["quantile has no key 'qq'", "slis[0]", "did you mean 'q'?"]),
        ({"slis": [{"sli": "quantile"}]}, ["'quantile' needs q", "slis[0]"]),
        ({"slis": [{"sli": "accuracy", "objective": "> high"}]}, ["slis[0]", "objective", "'> high'", ">= 0.4"]),
        ({"slis": []}, ["`slis` lists no SLI"]),
        ({"slis": "accuracy"}, ["key slis", "'accuracy'", "list"]),
        (
            {"grains": ["hour", "dya"]},
            ["grains[1]", "hour or day or week or month or cumulative", "did you mean 'day'?"],
        ),
        ({"grains": [{"size": "1d", "evry": "1h"}]}, ["grains[0]", "unknown key 'evry'", "did you mean 'every'?"]),
        ({"slice_by": ["region"]}, ["slice_by[0]", "'region'", "list"]),
        ({"task": "binry"}, ["key task", "binary or multiclass or regression or ranking", "did you mean 'binary'?"]),
        ({"horizon": "7 days"}, ["key horizon", "'7 days' is not a duration", "7d"]),
        ({"since": "yesterday"}, ["since is not a date or time", "2013-02-01"]),
        ({"timezone": "America/New_Yrk"}, ["'America/New_Yrk' is not a known IANA time zone", "America/New_York"]),
        ({"threshold": "half"}, ["key threshold", "number", "'half'"]),
        ({"memory": "lots"}, ["key memory", "'lots'", "2GB"]),
        ({"model": None}, ["model"]),
    ],
)
def test_a_wrong_config_names_the_key_and_what_was_expected(
    desk: Desk, changes: dict[str, Any], parts: list[str]
) -> None:
    desk.configure(**changes)
    said = desk.run()
    assert said.code == 2
    assert said.has(str(desk.config), *parts)
    assert "tuple" not in said.err
    assert "Sliding" not in said.err
    assert desk.untouched


def test_an_unset_environment_variable_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGS_ROOT", raising=False)
    desk.configure(predictions__path="${LOGS_ROOT}/predictions")
    said = desk.run()
    assert said.code == 2
    assert said.has("the environment has no variable LOGS_ROOT", str(desk.config), "export LOGS_ROOT=")
    monkeypatch.setenv("LOGS_ROOT", str(desk.root))
    assert desk.run().code == 0


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a: [1,\nb", "invalid YAML"),
        (b"- 1", "the config must be a mapping"),
        (b"", "the config must be a mapping"),
        (b"\xff\xfe\x00", "the config"),
    ],
)
def test_a_file_that_is_no_config_is_named(desk: Desk, content: bytes, part: str) -> None:
    desk.config.write_bytes(content)
    said = desk.run()
    assert said.code == 2
    assert said.has(part, str(desk.config))


def test_a_config_that_is_not_there_is_named(desk: Desk) -> None:
    desk.config.unlink()
    said = desk.run()
    assert said.code == 2
    assert said.has("the config cannot be read", str(desk.config), "sli init")


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("horizon", ["a setting must be key=value", "--set"]),
        ("horizont=2d", ["unknown key 'horizont'", "did you mean 'horizon'?"]),
        ("horizon=two", ["'two' is not a duration"]),
        ("predictions.pth=x", ["unknown key 'pth'", "did you mean 'path'?"]),
        ("threshold=[", ["--set", "threshold=["]),
        ("model.name=x", ["--set", "'model.name' cannot be set"]),
    ],
)
def test_a_wrong_setting_is_named(desk: Desk, setting: str, parts: list[str]) -> None:
    said = desk.run("--set", setting)
    assert said.code == 2
    assert said.has(*parts)
    assert desk.untouched


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--as-of", "soon"], ["as_of is not a date or time", "soon", "ISO 8601"]),
        (["--as-of", "2024-13-01"], ["as_of is not a date or time", "2024-13-01"]),
        (["--as-of", "2010-01-01"], ["since"]),
        (["--look-back", "soon"], ["look_back is not a duration", "soon", "1d"]),
    ],
)
def test_a_wrong_time_on_the_command_line_is_named(desk: Desk, arguments: list[str], parts: list[str]) -> None:
    said = desk.run(*arguments)
    assert said.code == 2
    assert said.has(*parts)
    assert "None" not in said.err
    assert desk.untouched


@pytest.mark.parametrize(
    ("start", "end", "arguments", "parts"),
    [
        ("2024-01-20", "2024-01-16", [], ["the end must come after the start", "2024-01-20"]),
        ("2024-01-16", "2024-01-16", [], ["the end must come after the start"]),
        ("2025-01-01", "2025-02-01", [], ["the interval holds no hours that could be recomputed", "2025-01-01"]),
        ("2009-01-01", "2010-01-01", [], ["the interval holds no hours that could be recomputed", "2010-01-01"]),
        ("soon", "2024-01-16", [], ["start is not a date or time", "soon", "ISO 8601"]),
        ("0000-01-01", "2024-01-16", [], ["start is not a date or time", "0000-01-01"]),
        ("2024-01-15", "later", [], ["end is not a date or time", "later", "ISO 8601"]),
        ("2024-01-15", "2024-01-16", ["--sli", "acuracy"], ["there is no SLI 'acuracy'", "did you mean 'accuracy'?"]),
        ("2024-01-15", "2024-01-16", ["--sli", "accuracy"], ["nothing is published", "sli run"]),
        ("2024-01-15", "2024-01-16", ["--chunk", "6h"], ["a part has whole days", "30d"]),
        ("2024-01-15", "2024-01-16", ["--chunk", "0d"], ["a part has whole days", "30d"]),
        ("2024-01-15", "2024-01-16", ["--chunk", "big"], ["chunk is not a duration", "big"]),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_backfill_that_cannot_be_is_explained(
    desk: Desk, start: str, end: str, arguments: list[str], parts: list[str], dry: list[str]
) -> None:
    said = desk.backfill(start, end, *arguments, *dry)
    assert said.code == 2
    assert said.has(*parts)
    assert desk.untouched


def test_a_backfill_as_of_before_what_is_published_is_refused(desk: Desk) -> None:
    assert desk.run("--as-of", "2024-03-01").code == 0
    said = desk.backfill("2024-01-15", "2024-01-16")
    assert said.code == 2
    assert said.has("as_of lies before what is published", "2024-03-01T00:00Z or later", "sli run --as-of")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--sli", "acuracy"], ["no SLI 'acuracy' is published", "did you mean 'accuracy'?"]),
        (["--grain", "huor"], ["no grain 'huor' is published", "did you mean 'hour'?"]),
        (["--slice", "region"], ["COLUMN=VALUE", "--slice"]),
        (["--slice", "=x"], ["COLUMN=VALUE", "--slice"]),
        (["--slice", "a=x", "--slice", "a=y"], ["a slice has one value of a", "a=x and a=y", "--by a"]),
        (["--slice", "region=x"], ["nothing is published by region", "one of all", "list [region] under `slice_by`"]),
        (["--by", "region"], ["nothing is published by region", "one of all"]),
        (["--start", "2024-01-16", "--end", "2024-01-16"], ["the time asked for is empty", "2024-01-16 00:00"]),
        (["--as-of", "soon"], ["soon", "ISO 8601"]),
        (["--start", "soon"], ["soon", "ISO 8601"]),
        (["--end", "soon"], ["soon", "ISO 8601"]),
    ],
)
def test_show_explains_what_it_cannot_show(whole: Desk, arguments: list[str], parts: list[str]) -> None:
    said = whole.call("show", str(whole.config), *arguments)
    assert said.code == 2
    assert said.has(*parts)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--end", "2010-01-01"], "no hour windows in this time: they are published from 2024-01-15 10:00 to 2024-01-"),
        (["--slice", "site=a", "--end", "2010-01-01"], "no hour windows of a in this time: they are published from"),
    ],
)
def test_show_says_why_there_is_nothing_to_show(sites: Desk, arguments: list[str], why: str) -> None:
    said = sites.call("show", str(sites.config), *arguments)
    assert (said.code, said.out.count("\n")) == (0, 1)
    assert said.has(why)


@pytest.mark.parametrize("command", [["show"], ["query", "accuracy"], ["explain", "accuracy"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_slice_or_time_that_there_is_none_of_is_the_same_error_everywhere(
    sites: Desk, command: list[str], form: list[str]
) -> None:
    name, *sli = command
    for wrong, parts in (
        (["--slice", "site=A"], ["there is no slice site=A", "site: one of a, b", "did you mean 'a'?"]),
        (["--as-of", "2010-01-01"], ["nothing was published yet", "2024-02-01 00:00 or later", "2010-01-01 00:00"]),
    ):
        said = sites.call(name, str(sites.config), *sli, *wrong, *form)
        assert said.code == 2
        assert said.has(*parts)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_nothing_published_yet_says_how_to_publish(desk: Desk, command: str) -> None:
    said = desk.call(command, str(desk.config))
    assert said.code == 4
    assert said.has("nothing is published yet", str(desk.root / "store"), "sli run")


# SLIs the user wrote


def test_a_python_function_that_raises_costs_its_own_values_only(desk: Desk) -> None:
    module = (
        "raising_" + hashlib.sha256(str(desk.root).encode()).hexdigest()[:8]
    )  # modules stay loaded: a name of its own
    (desk.root / f"{module}.py").write_text("def boom(truth, prediction):\n    raise ValueError('no good')\n")
    desk.configure(slis=["accuracy", {"name": "boom", "python": f"{module}:boom"}])
    said = desk.run()
    assert said.code == 3
    assert said.has("no value from boom", "ValueError: no good")
    assert desk.counts() == (6, 6)
    [row] = sli.read(desk.config, sli="boom").itertuples()
    assert math.isnan(row.value)
    assert row.reason == "ValueError: no good"


@pytest.mark.parametrize(
    ("python", "parts"),
    [
        ("no_such_module:f", ["the module of 'no_such_module:f' cannot be imported", "No module named"]),
        ("statistics:meen", ["'statistics:meen' does not name a function", "did you mean 'mean'?"]),
        ("statistics", ["module:function"]),
    ],
)
def test_a_python_function_that_is_not_there_fails_before_any_work(desk: Desk, python: str, parts: list[str]) -> None:
    desk.configure(slis=[{"name": "mine", "python": python}])
    said = desk.run()
    assert said.code == 2
    assert said.has("slis[0]", *parts)
    assert desk.untouched


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("state", "value", "parts"),
    [
        ("sum(CASE WHEN)", "loss", ["sum(CASE WHEN)", "syntax error"]),
        ("sum(fare)", "loss", ["sum(fare)", "predictions.columns"]),
        ("sum(prediciton)", "loss", ["prediciton", "did you mean 'prediction'?"]),
        ("avg(label)", "loss", ["avg(label)", "mergeable", "keep a mean as its sum and count"]),
        ("sum(prediction)", "loss / labeled", ["loss / labeled", "did you mean 'labelled'?"]),
        ("sum(prediction)", "loss +", ["loss +", "syntax error"]),
    ],
)
def test_custom_sql_that_cannot_work_is_named_before_any_work(
    desk: Desk, command: str, state: str, value: str, parts: list[str]
) -> None:
    desk.configure(slis=["accuracy", {"name": "cost", "states": {"loss": state}, "value": value}])
    said = desk.call(command, str(desk.config), "--as-of", "2024-02-01")
    assert said.code == 2
    assert said.has("slis", *parts)
    assert "::DOUBLE" not in said.err
    assert desk.untouched


# The store


def test_a_store_that_is_a_file_is_named(desk: Desk) -> None:
    (desk.root / "file").write_text("not a folder")
    desk.configure(store="file")
    said = desk.run()
    assert said.code == 4
    assert said.has("the store cannot be written", str(desk.root / "file"))


def test_a_store_that_cannot_be_written_is_named(desk: Desk) -> None:
    (desk.root / "locked").mkdir()
    (desk.root / "locked").chmod(0o500)
    desk.configure(store="locked/store" if os.geteuid() else "/proc/sli-store")
    said = desk.run()
    assert said.code == 4
    assert said.has("the store cannot be written", "store")


def test_a_protocol_nobody_knows_is_named(desk: Desk) -> None:
    desk.configure(predictions__path="s3x://bucket/predictions")
    said = desk.run()
    assert said.code == 2
    assert said.has("no file system is known", "predictions.path, s3x://bucket/predictions", "did you mean 's3'?")


# Machines and help


@pytest.mark.parametrize(
    "arguments", [["run", "--as-of", "2024-02-01"], ["plan", "--as-of", "2024-02-01"], ["show"], ["verify"]]
)
def test_json_is_one_document_on_success_and_on_errors(desk: Desk, arguments: list[str]) -> None:
    command, *rest = arguments
    if command in ("show", "verify"):
        assert desk.run().code == 0
    good = desk.call(command, str(desk.config), *rest, "--json")
    assert good.code == 0
    json.loads(good.out)
    assert good.err == ""
    desk.configure(slis=["acuracy"])
    wrong = desk.call(command, str(desk.config), *rest, "--json")
    assert wrong.code == 2
    error = json.loads(wrong.out)["error"]
    assert "acuracy" in error["what"]
    assert {"what", "where", "expected", "todo"} <= error.keys()
    assert wrong.err == ""


def test_json_of_a_run_lists_what_was_set_aside(desk: Desk) -> None:
    desk.feedback(label=[0.5, 1.0, 0.0, 1.0, 0.0, 1.0])
    said = desk.run("--json")
    assert said.code == 3
    [row] = json.loads(said.out)["set_aside"]
    assert (row["log"], row["check"], row["count"]) == ("feedback", "invalid: label is neither 0 nor 1", 1)


def test_json_of_show_keeps_every_digit(whole: Desk) -> None:
    [row] = json.loads(whole.call("show", str(whole.config), "--json").out)
    assert row["value"] == sli.read(whole.config).value.iloc[0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["shwo", "c.yaml"], ["unknown command 'shwo'", "where: sli\n", "did you mean 'show'?"]),
        (["show", "c.yaml", "--slis", "x"], ["unknown option '--slis'", "where: sli show", "did you mean '--sli'?"]),
        (["show", "c.yaml", "--table", "result"], ["'result' is not a choice", "did you mean 'results'?"]),
        (["query", "c.yaml", "a", "b"], ["'b' is one argument too many", "`sli query --help`"]),
        (["show"], ["missing: CONFIG", "where: sli show"]),
        (["show", "c.yaml", "--rows", "x"], ["a whole number, 0 or more, found 'x'", "where: sli show --rows"]),
        (["-v"], ["unknown option '-v'", "`sli --help`"]),
    ],
)
def test_a_wrong_argument_is_told_like_any_other_error(desk: Desk, arguments: list[str], parts: list[str]) -> None:
    said = desk.call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.has(*parts, "what to do: ", "sli: ")
    assert "usage:" not in said.err
    as_json = desk.call(*arguments, "--json")
    assert (as_json.code, as_json.err) == (2, "")
    assert json.loads(as_json.out)["error"]["what"] == said.err.removeprefix("sli: ").splitlines()[0]


def test_without_arguments_there_is_the_help_and_the_version_is_told(desk: Desk) -> None:
    said = desk.call()
    assert (said.code, said.err) == (0, "")
    assert said.out == desk.call("--help").out
    assert desk.call("--version").out == f"sli {sli.__version__}\n"


@pytest.mark.parametrize("command", ["", "run", "plan", "show", "compare", "verify", "init", "demo"])
def test_every_help_lists_the_exit_codes(desk: Desk, command: str) -> None:
    said = desk.call(*([command] if command else []), "--help")
    assert said.code == 0
    listed = re.findall(r"^\s+([02345])\s+\w", said.out.split("exit codes:")[1], flags=re.MULTILINE)
    assert listed == ["0", "2", "3", "4", "5"]


@pytest.mark.parametrize("name", ["value", "T", "label", "id"])
def test_a_slice_column_with_a_name_of_slis_own_is_refused_before_any_work(desk: Desk, name: str) -> None:
    desk.configure(slice_by=[[name]])
    said = desk.run()
    assert said.code == 2
    assert said.has(f"the column name '{name}' is reserved", "slice_by", "another name")
