"""Wrong values of the config's keys through the command: one clear message each, before any work."""

from __future__ import annotations

import copy
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from builders import config_tree
from desk import Desk, N
from hypothesis import given
from hypothesis import strategies as st

import sli
from sli.config.load import checked, load_config
from sli.errors import ConfigError

ANIMALS: dict[str, Any] = {
    "task": "multiclass",
    "classes": ["cat", "dog"],
    "predictions__value": "animal",
    "predictions__columns": ["fare"],
}
BY_FARE: dict[str, Any] = {"slice_by": [[], ["fare"]]}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk.made(tmp_path, capsys)
    made.predictions(animal=["cat", "dog"] * 3, fare=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], region=["a", "b"] * 3)
    pd.DataFrame({"region": ["a", "b"]}).to_parquet(tmp_path / "regions.parquet")
    pd.DataFrame({"fare": [None, None]}, dtype=float).to_parquet(tmp_path / "nulls.parquet")
    (tmp_path / "broken.parquet").write_text("no Parquet")
    return made


def drift(against: Any) -> dict[str, Any]:
    return {"predictions__columns": ["fare"], "slis": [{"sli": "psi", "of": "fare", "against": against}]}


def quantiles(table: str, number: int = 4) -> dict[str, Any]:
    return {**BY_FARE, "bins": {"fare": {"quantiles": number, "table": table}}}


CLASSES: list[tuple[dict[str, Any], list[str]]] = [
    ({"classes": None}, ["key classes", "this must be a list", "[cat, dog]"]),
    ({"classes": []}, ["classes", "a multiclass task needs its classes", "[cat, dog]", "list them"]),
    ({"task": "binary"}, ["classes", "a binary task has no classes", "cat, dog", "`task: multiclass`"]),
    ({"classes": ["cat", "cat", "dog"]}, ["classes", "a class is listed twice", "found: cat\n", "each class once"]),
    ({"classes": [1, 1.0, "1"]}, ["classes", "a class is listed twice", "found: 1\n"]),
    ({"classes": ["cat"]}, ["classes", "`classes` needs at least two classes", "two or more", "found: cat"]),
    ({"classes": "cat"}, ["key classes", "this must be a list", "'cat'", "[cat, dog]"]),
    ({"classes": [True, False]}, ["key classes[0]", "this must be text", "in quotes", "True"]),
    ({"classes": ["cat", None]}, ["key classes[1]", "this must be text", "in quotes", "None"]),
    ({"predictions__scores": {"dgo": "fare"}}, ["predictions.scores", "'dgo'", "cat, dog", "did you mean 'dog'?"]),
    ({"predictions__scores": ["fare"]}, ["key predictions.scores", "must be a mapping", "{cat: p_cat, dog: p_dog}"]),
    ({"predictions__scores": {"Dog": 3}}, ["key predictions.scores.Dog", "this must be text", "found: 3"]),
    ({"slis": ["log_loss"]}, ["slis[0]: predictions.scores", "none for cat, dog", "{cat: p_cat, dog: p_dog}"]),
    ({"slis": [{"sli": "recall", "label": "dgo"}]}, ["slis[0]", "'dgo' is not a class", "did you mean 'dog'?"]),
    ({"slis": [{"sli": "f1", "average": "macr"}]}, ["slis[0]", "'macr' is not an average", "did you mean 'macro'?"]),
    ({"slis": ["confusion"]}, ["slis[0]", "needs label, decision", "{sli: confusion, label: ..., decision: ...}"]),
    ({"slis": ["pr_auc"]}, ["slis[0]", "no SLI 'pr_auc' for a multiclass task", "it is for a binary task"]),
    ({"slis": ["ks"]}, ["slis[0]", "'ks' needs numbers", "chi_squared"]),
]
OTHERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"predictions__scores": {"dog": "fare"}}, ["predictions.scores", "a binary task has no scores", "`task: multi"]),
    ({"predictions__query": "region"}, ["predictions.query", "only a ranking task has `query`", "`task: ranking`"]),
    ({"task": "ranking", "slis": ["mrr"]}, ["predictions.query", "groups the predictions", "`query: session_id`"]),
    (
        {"bins": {"fare": [1, 2]}},
        ["bins.fare", "'fare' has bins, but `slice_by` does not list it", "`slice_by: [[], [fare]]`"],
    ),
    (
        {**BY_FARE, "bins": {"fair": [1]}},
        ["bins.fair", "'fair' has bins, but `slice_by` does not list it", "did you mean 'fare'?"],
    ),
    ({**BY_FARE, "bins": {"fare": [2, 1]}}, ["bins.fare", "edges must ascend", "[10, 20, 50]", "[2.0, 1.0]"]),
    ({**BY_FARE, "bins": {"fare": []}}, ["bins.fare", "edges must ascend", "found: []"]),
    ({**BY_FARE, "bins": {"fare": [1, 1.0000001]}}, ["bins.fare", "edges are too close", "six digits"]),
    ({**BY_FARE, "bins": {"fare": ["a"]}}, ["key bins.fare[0]\n", "must be a number", "[10, 20, 50]", "'a'"]),
    ({**BY_FARE, "bins": {"fare": 10}}, ["key bins.fare\n", "must be a list", "{quantiles: 4, table:", "found: 10"]),
    ({**BY_FARE, "bins": {"fare": {"quantiles": 4}}}, ["key bins.fare.table\n", "'table' is missing", "add `table:`"]),
    ({**BY_FARE, "bins": {"fare": {"quantile": 4, "table": "x"}}}, ["key bins.fare.quantile\n", "mean 'quantiles'?"]),
    ({"bins": ["fare"]}, ["key bins\n", "this must be a mapping", "{fare: [10, 20, 50]}"]),
    (quantiles("x.parquet", 1), ["key bins.fare.quantiles\n", "out of range", "from 2 to 100", "found: 1"]),
    (quantiles("none.parquet"), ["bins.fare", "cannot be read", "numeric column 'fare'", "none.parquet", "check"]),
    (quantiles("regions.parquet"), ["bins.fare", "cannot be read", "numeric column 'fare'", "regions.parquet"]),
    (quantiles("broken.parquet"), ["bins.fare", "cannot be read", "a Parquet file", "broken.parquet"]),
    (quantiles("nulls.parquet"), ["bins.fare", "has no values", "numbers in 'fare'", "nulls.parquet"]),
    ({"slice_by": [{"columns": ["region"], "top": 0}]}, ["key slice_by[0].top\n", "out of range", "1 or more"]),
    ({"slice_by": [{"columns": ["region"], "top": "two"}]}, ["key slice_by[0].top\n", "whole number", "'two'"]),
    ({"slice_by": [{"columns": ["region"], "tpo": 2}]}, ["key slice_by[0].tpo\n", "columns, top", "mean 'top'?"]),
    ({"slice_by": [{"top": 2}]}, ["key slice_by[0].columns\n", "'columns' is missing"]),
    ({"slice_by": [{"columns": "region"}]}, ["key slice_by[0].columns\n", "must be a list", "[region]", "'region'"]),
    ({"slice_by": [[], "region"]}, ["key slice_by[1]\n", "must be a list", "{columns: [region], top: 20}", "'region'"]),
    ({"slice_by": [["region", 3]]}, ["key slice_by[0][1]\n", "must be text", "found: 3"]),
    ({"slice_by": [["region", "region"]]}, ["slice_by", "names a column twice", "region"]),
    ({"slice_by": [["region"], {"columns": ["region"], "top": 2}]}, ["slice_by", "a slice is listed twice"]),
    ({"grains": ["7d"]}, ["key grains[0]\n", "hour or day or week or month or cumulative or {size: 7d}", "found: 7d"]),
    ({"grains": [{"every": "1d"}]}, ["key grains[0].size\n", "'size' is missing"]),
    ({"grains": [{"size": "7 days"}]}, ["key grains[0].size\n", "'7 days' is not a duration", "7d"]),
    ({"grains": {"size": "7d"}}, ["key grains\n", "must be a list", "[hour, day, {size: 7d}]"]),
    ({"dask": {"workers": 0}}, ["key dask.workers\n", "out of range", "1 to 10000", "found: 0"]),
    ({"dask": {"worker": 2}}, ["key dask.worker\n", "workers, scheduler", "mean 'workers'?"]),
    ({"since": [2024]}, ["key since\n", "must be text", "2013-02-01"]),
    ({"duplicates_within": "for ever"}, ["key duplicates_within\n", "not a duration", "15m; forever is possible, too"]),
    ({"duplicates_within": "1h"}, ["duplicates_within", "count for two predictions", "at least as long as horizon"]),
    (
        {"duplicates_within": "60d", "feedback__time": {"from": "prediction"}},
        ["duplicates_within", "does not say which of two predictions", "expected: forever", "found: 60d"],
    ),
    ({"level": 1.5}, ["key level\n", "out of range", "between 0 and 1, for example 0.95", "found: 1.5"]),
    ({"level": "high"}, ["key level\n", "must be a number", "for example 0.95", "'high'"]),
    ({"min_support": -1}, ["key min_support\n", "out of range", "a whole number, 0 or more", "found: -1"]),
    (
        {"max_conflicts": 1.5},
        ["key max_conflicts\n", "out of range", "a share from 0 to 1, for example 0.01", "found: 1.5"],
    ),
    ({"max_conflicts": "1%"}, ["key max_conflicts\n", "must be a number", "for example 0.01", "found: '1%'"]),
    ({"min_support": 2.5}, ["key min_support\n", "must be a whole number", "found: 2.5"]),
    ({"threshold": 1.5}, ["key threshold\n", "out of range", "from 0 to 1", "found: 1.5"]),
    ({"threshold": float("nan")}, ["key threshold\n", "out of range", "found: nan"]),
    (drift("previuos"), ["slis[0]: against", "this is not a reference", "{table: PATH}", "did you mean 'previous'?"]),
    (drift({"start": "2024-01-01"}), ["slis[0]: against", "this is not a reference", "{start: TIME, end: TIME}"]),
    (drift({"start": "soon", "end": "2024-01-01"}), ["slis[0]: against", "not a date or time", "ISO 8601", "soon"]),
    (drift({"start": "2024-01-02", "end": "2024-01-01"}), ["slis[0]: against", "empty", "a start before the end"]),
    (drift({"table": "none.parquet"}), ["slis[0]: against", "cannot be found", "none.parquet", "check the path"]),
    (drift({"table": "regions.parquet"}), ["regions.parquet", "cannot be used", "declared columns", '"fare"']),
    (drift({"table": "broken.parquet"}), ["broken.parquet", "cannot be used", "a Parquet file"]),
    (drift(["previous", "last"]), ["slis[0]: against", "this is not a reference", "found: last"]),
    ({"slis": [{"sli": "psi", "of": "fair"}], "predictions__columns": ["fare"]}, ["slis[0]: of", "mean 'fare'?"]),
    ({"slis": [{"sli": "accuracy", "against": "previous"}]}, ["slis[0]: against", "accuracy has no key 'against'"]),
    (
        {"slis": [{"name": "gap", "python": "own:gap", "wieght": "w"}]},
        ["slis[0]: wieght", "a custom SLI has no key 'wieght'", "did you mean 'weight'?"],
    ),
    ({"slis": [{"sli": "recall", "threshold": 1.5}]}, ["slis[0]", "threshold is out of range", "found: 1.5"]),
    ({"slis": [{"sli": "recall", "threshold": [0.3, "x"]}]}, ["slis[0]", "threshold is out of range", "'x'"]),
    ({"slis": [{"sli": "recall", "threshold": []}]}, ["slis[0]: threshold", "threshold lists no value"]),
    ({"slis": [{"sli": "recall", "threshold": [0.3, 0.3]}]}, ["slis[0]: threshold", "lists a value twice"]),
    (
        {"slis": [{"sli": "recall", "threshold": [0.3, 0.5]}, {"sli": "precision", "name": "recall_0.3"}]},
        ["slis", "two SLIs are called 'recall_0.3'", "another `name`"],
    ),
    ({"slis": ["ndcg"]}, ["slis[0]", "no SLI 'ndcg' for a binary task", "it is for a ranking task"]),
    ({"slis": [{"sli": "recall", "label": "dog"}]}, ["slis[0]: label", "recall has no key 'label'"]),
    (
        {"slis": [{"sli": ["recall"]}]},
        ["slis[0]: sli", "must be the name of a built-in SLI", "for example accuracy", "['recall']"],
    ),
]


@pytest.mark.parametrize(("changes", "parts"), [*(({**ANIMALS, **c}, parts) for c, parts in CLASSES), *OTHERS])
def test_a_wrong_value_has_one_message_that_says_what_and_where(
    desk: Desk, changes: dict[str, Any], parts: list[str]
) -> None:
    desk.configure(**changes)
    said = desk.run()
    assert said.code == 2
    assert said.has(*parts)
    assert said.err.count("where: ") == 1
    assert "also " not in said.err
    for pythonic in ("tuple", "Quantiles", "SliceSet", "Sliding", "literal", "dictionary", "input should"):
        assert pythonic not in said.err
    assert desk.untouched


def test_several_wrong_keys_are_all_named(desk: Desk) -> None:
    desk.configure(level=2, min_support=-1, slice_by=["region"], grains=["dya"])
    said = desk.run()
    assert said.code == 2
    assert said.has("key level", "also min_support: ", "also slice_by[0]: this must be a list", "also grains[0]: ")


def test_a_column_of_scores_that_no_file_has_is_named(desk: Desk) -> None:
    desk.feedback(label=["cat", "dog"] * 3)
    desk.configure(**ANIMALS, predictions__scores={"cat": "fare", "dog": "fair"}, slis=["log_loss"])
    said = desk.run()
    assert said.code == 2
    assert said.has("predictions.scores", "has a column 'fair'", "a.parquet", "did you mean 'fare'?")
    assert desk.untouched


@pytest.mark.parametrize("command", ["run", "plan", "backfill"])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"predictions__id": "output_di"}, ["predictions.id", "of the predictions log", "did you mean 'output_id'?"]),
        ({"predictions__time": "predicted"}, ["predictions.time", "did you mean 'predicted_at'?"]),
        ({"predictions__value": "scores"}, ["predictions.value", "did you mean 'score'?"]),
        ({"feedback__id": "id"}, ["feedback.id", "one of output_id, known_at, label", "check the name"]),
        ({"feedback__time": "known"}, ["feedback.time", "did you mean 'known_at'?"]),
        ({"feedback__value": "labels"}, ["feedback.value", "of the feedback log", "did you mean 'label'?"]),
        ({"slice_by": [[], ["regoin"]]}, ["slice_by", "'regoin'", "did you mean 'region'?"]),
        ({"predictions__columns": ["fair"]}, ["predictions.columns", "'fair'", "did you mean 'fare'?"]),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_column_that_no_file_has_is_a_config_error(
    desk: Desk, command: str, changes: dict[str, Any], parts: list[str]
) -> None:
    desk.configure(**changes)
    span = ["--start", "2024-01-15", "--end", "2024-01-16"] if command == "backfill" else []
    said = desk.call(command, str(desk.config), "--as-of", "2024-02-01", *span)
    assert said.code == 2
    assert said.has("no file of the", *parts)
    assert desk.untouched


def test_a_column_that_some_files_lack_sets_those_aside(desk: Desk) -> None:
    desk.predictions("b.parquet", prefix="b")
    desk.configure(slice_by=[[], ["region"]])
    said = desk.run()
    assert said.code == 3
    assert said.has("missing column", "b.parquet", "no column 'region'")
    assert desk.counts() == (6, 6)


@pytest.mark.parametrize(
    ("log", "counts"), [("predictions", (4, 4)), ("feedback", (6, 4))], ids=["predictions", "feedback"]
)
def test_a_value_that_is_none_of_the_classes_is_set_aside(desk: Desk, log: str, counts: tuple[int, int]) -> None:
    strange = ["cat", "dog", "cow", "cat", "Dog", "dog"]
    desk.predictions(animal=strange if log == "predictions" else ["cat", "dog"] * 3, fare=[1.0] * N)
    desk.feedback(label=strange if log == "feedback" else ["cat", "dog"] * 3)
    desk.configure(**ANIMALS)
    said = desk.run()
    assert said.code == 3
    assert said.has(
        f"set aside: {log}, invalid: value is none of the classes, 2 rows", "a.parquet", "for example p2, p4"
    )
    assert desk.counts() == counts
    assert desk.audit()[log, "invalid: value is none of the classes"] == 2


def test_a_fraction_is_no_class(desk: Desk) -> None:
    desk.configure(**{**ANIMALS, "predictions__value": "score"})
    said = desk.run()
    assert said.code == 4
    assert said.has("column 'score' is double, expected text, integers or booleans", "a.parquet")
    assert desk.untouched


def test_a_relevance_below_0_is_set_aside(desk: Desk) -> None:
    desk.feedback(label=[-1, 0, 1, 0, 1, 2])
    desk.configure(task="ranking", predictions__query="region", slis=["mrr"])
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside: feedback, invalid: relevance below 0, 1 row", "for example p0")
    assert desk.audit() == {("feedback", "invalid: relevance below 0"): 1}


def test_classes_may_be_whole_numbers_or_booleans(desk: Desk) -> None:
    for values, classes in (([1, 2] * 3, [1, 2]), ([True, False] * 3, ["true", "false"])):
        desk.predictions(animal=values, fare=[1.0] * N)
        desk.feedback(label=values)
        desk.configure(**{**ANIMALS, "classes": classes, "store": f"store-{classes[0]}"})
        assert desk.run().code == 0
        assert sli.read(desk.config, sli="accuracy").value.tolist() == [1.0]
        assert desk.call("verify", str(desk.config)).code == 0


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghij")
)
SHAPES: list[tuple[str, str | bytes, list[str]]] = [
    ("number", "1: 2\n", ["a key must be text, found 1", "line 1", 'write "1"']),
    ("null", "model: m\n~: 2\n", ["a key must be text, found ~", "line 2"]),
    ("truth", "on: 2\n", ["a key must be text, found on"]),
    ("deep number", "slis:\n- sli: accuracy\n  3: 2\n", ["a key must be text, found 3", "line 3"]),
    ("list as key", "[a]: 1\n", ["a key must be text, found a list or a mapping"]),
    ("itself", "slis: &a [*a]\n", ["'a' contains itself", "line 1"]),
    ("itself, deeper", "x: &a {b: {c: [*a]}}\n", ["'a' contains itself"]),
    ("merged into itself", "x: &a {<<: *a}\n", ["'a' contains itself"]),
    ("brackets", "slis: " + "[" * 5000 + "]" * 5000, ["nested more than 50 deep"]),
    ("open brackets", "[" * 5000, ["nested more than 50 deep"]),
    ("steps", "".join(f"{' ' * i}a:\n" for i in range(300)), ["more than 50", "line 50"]),
    ("bomb", BOMB, ["more than 20,000 values", "line 5"]),
    ("many", "slis: [" + "a, " * 30_000 + "]", ["more than 20,000 values"]),
    ("twice", "model: m\nhorizon: 1d\nmodel: n\n", ["the key 'model' is given twice, in lines 1 and 3", "remove one"]),
    ("twice, deeper", "slis:\n- {sli: cost, name: a, name: b}\n", ["the key 'name' is given twice, in line 2"]),
    ("python", "model: !!python/object/apply:os.system ['touch x']\n", ["!!python/object/apply:os.system", "line 1"]),
    ("python name", "model: !!python/name:os.system\n", ["!!python/name:os.system"]),
    ("bytes", "model: !!binary aGVsbG8=\n", ["a value of type !!binary"]),
    ("set", "slis: !!set {a, b}\n", ["a value of type !!set"]),
    ("tag", "model: !mine x\n", ["a value of type !mine"]),
    ("unknown anchor", "model: *x\n", ["found undefined alias 'x'", "line 1"]),
    ("two documents", "model: m\n---\nmodel: n\n", ["expected a single document", "line 2"]),
    ("tab", "slis:\n\t- accuracy\n", ["invalid YAML", "'\\t'", "line 2"]),
    ("quote", "model: 'm\n", ["invalid YAML", "quoted scalar"]),
    ("no date", "since: 2024-99-99\n", ["invalid YAML: month must be in 1..12", "line 1"]),
    ("digits", "min_support: " + "9" * 5000 + "\n", ["invalid YAML", "5000 digits"]),
    ("large", "min_support: 9223372036854775808\n", ["a whole number is too large"]),
    ("sixties", "min_support: 1" + ":59" * 3000 + "\n", ["a whole number is too large"]),
    ("NUL", "model: \0\n", ["invalid YAML", "#x0000"]),
    ("escape", "model: \x1b[2J\n", ["invalid YAML", "#x001b"]),
    ("no UTF-8", b"model: \xff\n", ["not UTF-8 text"]),
    ("UTF-16", "model: m\n".encode("utf-16"), ["not UTF-8 text"]),
    (
        "no time",
        "since: !!timestamp soon\n",
        ["invalid YAML: 'soon' is not a !!timestamp", "line 1", "remove !!timestamp"],
    ),
    ("no truth", "min_support: !!bool maybe\n", ["invalid YAML: 'maybe' is not a !!bool", "line 1"]),
    ("no number", "min_support: !!int ''\n", ["invalid YAML: '' is not a !!int", "line 1"]),
    ("half a character", 'model: "\\ud800"\n', ["a text contains half a character", "line 1"]),
    ("half a character in a key", '"\\udfff": 1\n', ["a text contains half a character", "line 1"]),
    ("empty", "", ["must be a mapping", "found: nothing"]),
    ("comment", "# nothing\n", ["must be a mapping", "found: nothing"]),
    ("list", "- accuracy\n", ["must be a mapping", "found: list"]),
    ("text", "accuracy\n", ["must be a mapping", "found: str"]),
    ("huge", "# " + "x" * (300 << 10), ["the config is too large", "at most 256 KiB"]),
]


@pytest.mark.parametrize("length", ["36526d", "9999999999999999d", "9" * 5000 + "s"])
def test_a_length_of_more_than_a_century_is_refused(desk: Desk, length: str) -> None:
    desk.configure(horizon=length)
    said = desk.run()
    assert said.code == 2
    assert said.has("horizon", "is longer than 36,525 days, which is 100 years")


def test_a_length_of_a_century_is_not_refused(desk: Desk) -> None:
    desk.configure(horizon="36525d")
    assert desk.run().code == 0
    assert desk.counts() == (6, 6)


@pytest.mark.parametrize(("text", "parts"), [each[1:] for each in SHAPES], ids=[each[0] for each in SHAPES])
def test_a_yaml_of_another_shape_is_a_clear_error_in_time(desk: Desk, text: str | bytes, parts: list[str]) -> None:
    desk.config.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.monotonic()
    said = desk.run()
    assert time.monotonic() - began < 5
    assert said.code == 2
    assert said.has(str(desk.config), *parts)
    assert len(said.err) < 1000


@pytest.mark.parametrize("name", ["predictions", "no\0thing.yaml", "nowhere.yaml", "a" * 5000])
def test_a_config_that_is_no_file_is_a_clear_error(desk: Desk, name: str) -> None:
    said = desk.call("run", f"{desk.root}/{name}")
    assert said.code == 2
    assert said.has("the config cannot be read" if "\0" not in name else "the config")


@pytest.mark.parametrize(
    "setting", ["slis=[[[[", "slis=&a [*a]", "horizon={1: 2}", "horizon={a: 1, a: 2}", "x=!!python/name:os"]
)
def test_a_setting_of_another_shape_is_a_clear_error(desk: Desk, setting: str) -> None:
    said = desk.run("--set", setting)
    assert said.code == 2
    assert said.has("--set", setting)


SQL: dict[str, Any] = {
    "name": "cost",
    "states": {"loss": "sum(label::INT)"},
    "value": "loss / labelled",
    "objective": "< 5",
}
WHOLE: dict[str, Any] = {
    **config_tree(),
    "timezone": "UTC",
    "threshold": 0.5,
    "level": 0.9,
    "min_support": 1,
    "memory": "1GB",
    "dask": {"workers": 2},
    "storage": {"s3": {"endpoint": "http://minio:9000", "key": "a", "secret": "b"}},
    "slice_by": [[], ["region"], {"columns": ["region", "fare"], "top": 2}],
    "bins": {"fare": [1, 2]},
    "grains": ["hour", {"size": "7d", "every": "1d"}],
    "slis": [
        "accuracy",
        {"sli": "recall", "threshold": [0.3, 0.5]},
        SQL,
        {"sli": "psi", "of": "fare", "against": "previous"},
    ],
    "predictions": {**config_tree()["predictions"], "columns": ["fare"], "keep": "first"},
}
NOTHING = [None, "", [], {}, [[]], [None]]
NUMBERS = [True, 0, -1, 1e400, float("nan"), 2**62]
TEXTS = ["x", "\n", "a\0b", "é" * 50, "1d", "*", "../..", "${X}", "-", "SELECT 1", "a://b", "9999999999999999d", "1e9d"]
OTHERWISE = [{"a": 1}, ["x"] * 3, {"size": "1h"}, date(1, 1, 1), "9999-12-31", "0001-01-01"]
STRANGE = st.sampled_from([*NOTHING, *NUMBERS, *TEXTS, *OTHERWISE])
KEYS = st.sampled_from(["x", "", "objective", "name", "value", "sli", "against", "python", "of"])
BITS = ["", "\t", "[", "{", "&a ", "*a", "!!", ": ", "- ", "'", "\n", "#", "%", "1", "\x00", "💥", "<<: "]


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [*([at] if at else []), *(each for key in keys for each in places(tree[key], (*at, key)))]


@given(data=st.data())
def test_a_config_with_anything_at_any_place_is_a_config_or_a_config_error(data: st.DataObject) -> None:
    tree = copy.deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(st.sampled_from(places(tree)))
        at = tree
        for key in above:
            at = at[key]
        how = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            at[last] = data.draw(STRANGE)
        elif how == "remove":
            del at[last]
        elif isinstance(at, dict):
            at[data.draw(KEYS)] = data.draw(STRANGE)
        else:
            at.insert(last, data.draw(STRANGE))
    try:
        checked(tree).base  # noqa: B018 - works out the edges of bins
    except ConfigError as error:
        told = str(error)
    else:
        told = "a config"
    assert 0 < len(told) < 3000


@given(data=st.data())
def test_a_config_with_characters_changed_is_a_config_or_a_config_error(
    data: st.DataObject, tmp_path_factory: Any
) -> None:
    text = list(yaml.safe_dump(WHOLE))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from(BITS))
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text("".join(text))
    try:
        load_config(path)
    except ConfigError as error:
        told = str(error)
    else:
        told = "a config"
    assert 0 < len(told) < 3000


@pytest.mark.parametrize("key", ["store", "predictions__path", "feedback__path"])
def test_an_empty_path_is_refused_and_is_not_the_folder_of_the_config(desk: Desk, key: str) -> None:
    desk.configure(**{key: " "})
    said = desk.run()
    assert said.code == 2
    assert said.has("the path is empty", key.replace("__", "."))
