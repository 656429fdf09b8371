"""Two slices compared: by what is stored of each, and by the requests that both scored, as plain rows have them."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from builders import config_tree
from desk import Desk
from plain import value_on

import sli
from sli.config.load import load_config
from sli.errors import ConfigError, StoreError
from sli.publishing.store import Store
from sli.reading.raw_pairs import raw_pairs
from sli.slis.maths.differences import mcnemar, of_paired_shares

MODELS = ("champion", "challenger")
BOTH = {"model": list(MODELS)}
N = 240
START = pd.Timestamp("2024-01-15T20:00", tz="UTC")
SLIS: list[Any] = [
    "accuracy",
    "recall",
    "f1",
    "roc_auc",
    "log_loss",
    "coverage",
    {"sli": "min", "of": "prediction"},
    {"sli": "mean", "of": "prediction"},
    {"name": "shift", "sli": "mean_difference", "against": "previous"},
    {"name": "cost", "states": {"c": "sum(CASE WHEN label <> decision THEN 1.5 ELSE 0 END)"}, "value": "c / labelled"},
    {"name": "own", "python": "own_metrics:weighted", "columns": ["region"]},
]
ONE: dict[str, Any] = {"slis": ["accuracy"], "slice_by": [["model"]]}
OWN = """
import numpy as np

def weighted(y_true, y_pred, slices):
    return float(np.average(y_true == y_pred, weights=1.0 + (slices["region"] == "east")))
"""


def logged() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of two models, the second a minute later, some after midnight; and feedback, with what logs have."""
    random = np.random.default_rng(5)
    label = random.random(N) < 0.4
    skill = random.normal(size=N) + 1.5 * (2 * label - 1)
    frames = []
    for i, model in enumerate(MODELS):
        score = 1 / (1 + np.exp(-(skill + (1.0 - 0.4 * i) * random.normal(size=N))))
        frame = pd.DataFrame({"request_id": [f"r{k}" for k in range(N)], "model": model, "score": score})
        frame["output_id"] = model + frame.request_id
        frame["predicted_at"] = START + pd.to_timedelta(2 * np.arange(N) + i, unit="min")
        frame["region"] = np.where(np.arange(N) % 3, "west", "east")
        frame["label"] = label.astype(float)
        frames.append(frame[random.random(N) < 0.9])
    made = pd.concat(frames, ignore_index=True)
    made["known_at"] = made.predicted_at + pd.Timedelta("1h")
    again = made.iloc[10:13].assign(predicted_at=lambda rows: rows.predicted_at + pd.Timedelta("9h"), score=0.5)
    # The same model scores a request again; and a later prediction has an id that was already there.
    repeated = again.assign(output_id="again" + again.output_id, known_at=again.predicted_at)
    doubled = made.iloc[20:24].assign(predicted_at=lambda rows: rows.predicted_at + pd.Timedelta("10h"), score=0.5)
    made.loc[made.index[30:32], "request_id"] = None
    predictions = pd.concat([made, repeated, doubled], ignore_index=True)
    feedback = made[random.random(len(made)) < 0.9]
    feedback = pd.concat([feedback, repeated])[["output_id", "known_at", "label"]]
    withdrawn = feedback.iloc[:5].assign(known_at=feedback.known_at.iloc[:5] + pd.Timedelta("2h"), label=np.nan)
    late = feedback.iloc[40:45].assign(known_at=feedback.known_at.iloc[40:45] + pd.Timedelta("48h"))
    feedback = pd.concat([feedback.drop(late.index), late, withdrawn])
    return predictions.drop(columns=["label", "known_at"]), feedback


def written(root: Path, predictions: pd.DataFrame, feedback: pd.DataFrame, **changes: Any) -> Path:
    """The config of these logs; a file an hour."""
    for log, rows, time in (("predictions", predictions, "predicted_at"), ("feedback", feedback, "known_at")):
        (root / log).mkdir(parents=True)
        for hour, part in rows.groupby(rows[time].dt.floor("h")):
            part.to_parquet(root / log / f"{hour:%Y%m%dT%H}.parquet", index=False)
    (root / "own_metrics.py").write_text(OWN)
    columns = {"columns": ["region", "request_id"]}
    keys = {"slis": SLIS, "slice_by": [[], ["model"], ["region"]], "grains": ["day"], **changes}
    tree = config_tree(None, columns, **keys)
    (root / "c.yaml").write_text(yaml.safe_dump(tree))
    return root / "c.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = written(tmp_path_factory.mktemp("compared"), *logged())
    sli.run(path, as_of="2024-01-18")
    return path


@pytest.fixture(scope="module")
def rows(config: Path) -> dict[str, pd.DataFrame]:
    """The pairs of each model by plain pandas, the first of each request, with `request_id` as index."""
    loaded = load_config(config)
    store = Store(loaded.store)
    published = store.published()
    assert published is not None
    pairs = raw_pairs(loaded, store.inputs(published), published.as_of)
    pairs = pairs.dropna(subset=["request_id"]).sort_values("predicted_at")
    firsts = pairs.drop_duplicates(["slice:model", "request_id"]).set_index("request_id")
    return {model: firsts[firsts["slice:model"] == model] for model in MODELS}


def of_both(rows: dict[str, pd.DataFrame], labels: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the requests that both models scored and, if asked for, both have labels of."""
    first, second = (rows[model] for model in MODELS)
    both = first.index.intersection(second.index)
    if labels:
        both = [request for request in both if first.usable[request] and second.usable[request]]
    return first.loc[both], second.loc[both]


def test_a_share_is_compared_by_the_requests_on_which_the_sides_differ(
    config: Path, rows: dict[str, pd.DataFrame]
) -> None:
    found = sli.compare(config, "accuracy", BOTH, pair="request_id")
    first, second = of_both(rows, labels=True)
    right = [(side.decision == side.label).to_numpy(bool) for side in (first, second)]
    table = tuple(int(((right[0] == a) & (right[1] == b)).sum()) for a, b in itertools.product((True, False), repeat=2))
    assert found.table == table
    assert found.p == mcnemar(table[1], table[2])
    expected = [float(number) for number in of_paired_shares(*table, 0.95)]
    assert (found.difference, found.low, found.high) == pytest.approx(expected)
    assert (found.first.value, found.second.value) == (right[0].mean(), right[1].mean())
    assert found.first.low < found.first.value < found.first.high
    pairing = found.pairing
    assert pairing is not None
    both, _ = of_both(rows, labels=False)
    assert (pairing.requests, pairing.compared) == (len(both), len(first))
    assert pairing.unpaired == tuple(len(rows[model]) - len(both) for model in MODELS)
    assert pairing.unlabelled == tuple(int((~rows[model].loc[both.index].labelled).sum()) for model in MODELS)
    assert pairing.unlabelled[0] > 10
    assert (pairing.repeated, pairing.without) == ((3, 0), (2, 0))
    assert found.resamples == 0


@pytest.mark.parametrize("name", ["recall", "f1", "roc_auc", "log_loss", "coverage", "mean", "cost", "own"])
def test_any_sli_is_compared_on_the_rows_of_requests_that_both_scored(
    config: Path, rows: dict[str, pd.DataFrame], name: str
) -> None:
    found = sli.compare(config, name, BOTH, pair="request_id")
    declared = next(each for each in load_config(config).declared if each.name == name)
    sides = of_both(rows, labels=name not in ("coverage", "mean"))
    values = [value_on(declared.formula, side.reset_index(), task="binary") for side in sides]
    assert [found.first.value, found.second.value] == pytest.approx(values, rel=1e-12)
    assert found.difference == found.second.value - found.first.value
    assert found.low < found.difference < found.high
    assert found.pairing is not None
    assert found.pairing.compared == len(sides[0])
    assert (found.table is None) == (name not in ("recall", "coverage"))
    assert (found.resamples > 0) == (found.table is None)
    assert found.first.low < found.first.value < found.first.high


def test_the_same_rows_give_the_same_bits_however_they_are_logged(config: Path, tmp_path: Path) -> None:
    predictions, feedback = logged()
    shuffled = (frame.sample(frac=1, random_state=1) for frame in (predictions, feedback))
    other = written(tmp_path, *shuffled, slis=[SLIS[3], SLIS[-1]])
    sli.run(other, as_of="2024-01-18")
    for name in ("roc_auc", "own"):
        found, again, same = (sli.compare(each, name, BOTH, pair="request_id") for each in (config, config, other))
        assert found.to_dict() == again.to_dict() == same.to_dict()


def test_paired_requests_tell_more_than_independent_slices(config: Path) -> None:
    paired, apart = (sli.compare(config, "roc_auc", BOTH, pair=pair) for pair in ("request_id", None))
    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)


def test_independent_slices_are_compared_without_the_logs(config: Path, tmp_path: Path) -> None:
    shutil.copytree(config.parent / "store", tmp_path / "store")
    shutil.copy(config, tmp_path / "c.yaml")
    within = {"start": "2024-01-15T21:00", "end": "2024-01-16T02:00"}
    found = sli.compare(tmp_path / "c.yaml", "accuracy", BOTH, **within)
    for side in (found.first, found.second):
        [row] = sli.query(config, "accuracy", slice={"model": side.slice}, **within).itertuples()
        assert (side.value, side.low, side.high) == (row.value, row.ci_low, row.ci_high)
        assert (side.predictions, side.labelled) == (row.predictions, row.labelled)
    assert found.difference == found.second.value - found.first.value
    assert found.low < found.difference < found.high
    assert (found.pairing, found.table) == (None, None)
    assert f"{found.first.labelled} and {found.second.labelled} labelled predictions" in found.sentence
    coverage = sli.compare(config, "coverage", BOTH, **within)
    assert f"{found.first.predictions} and {found.second.predictions} predictions" in coverage.sentence
    swapped = sli.compare(config, "accuracy", {"model": MODELS[::-1]}, **within)
    assert (swapped.difference, swapped.low, swapped.high) == (-found.difference, -found.high, -found.low)


def test_only_requests_of_the_window_are_compared(config: Path, rows: dict[str, pd.DataFrame]) -> None:
    start, end = pd.Timestamp("2024-01-15T21:00Z"), pd.Timestamp("2024-01-16T01:00Z")
    found = sli.compare(config, "roc_auc", BOTH, pair="request_id", start=start, end=end)
    inside = {model: side[side.predicted_at.between(start, end, inclusive="left")] for model, side in rows.items()}
    first, second = of_both(inside, labels=True)
    assert found.pairing is not None
    assert found.pairing.compared == len(first) == len(second)
    assert (found.start, found.end, found.maturity) == (start, end, "final")


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"slices": {"modle": MODELS}}, ["there are no slices by 'modle'", "one of model, region", "did you mean 'model'"]),
    (
        {"slices": {"request_id": ("a", "b")}},
        ["no slices by 'request_id'", "list [request_id] under `slice_by`"],
    ),
    ({"slices": {"model": ["champion"]}}, ["two slices are compared", "model=champion,challenger"]),
    ({"slices": {"model": ["champion", "champion"]}}, ["two slices are compared", "found: model=champion,champion"]),
    ({"slices": {"model": "champion"}}, ["two slices are compared"]),
    ({"slices": {**BOTH, "region": ["east", "west"]}}, ["slices by one column are compared"]),
    ({"slices": {"model": ["champion", "chalenger"]}}, ["no predictions in this time", "did you mean 'challenger'"]),
    ({"name": "acuracy"}, ["there is no SLI 'acuracy'", "did you mean 'accuracy'"]),
    ({"start": "2024-01-15T20:30"}, ["start must fall on whole hours"]),
    ({"start": "2024-01-20", "end": "2024-01-21"}, ["no predictions in this time", "a time with predictions"]),
    ({"pair": "request"}, ["'request' cannot say which predictions", "did you mean 'request_id'"]),
    ({"pair": "model"}, ["'model' cannot say which predictions", "one of region, request_id"]),
    ({"pair": "output_id"}, ["'output_id' cannot say which predictions", "one of region, request_id"]),
    (
        {"slices": {"region": ["east", "west"]}, "pair": "request_id"},
        ["no request was scored by both", "only east"],
    ),
    ({"name": "min"}, ["min has no interval in this time", "--pair COLUMN"]),
    ({"name": "own"}, ["own has no interval in this time", "--pair COLUMN"]),
    ({"name": "min", "pair": "request_id"}, ["min rests on extremes", "leave out --pair"]),
    ({"name": "shift", "pair": "request_id", "start": "2024-01-16"}, ["with a reference", "leave out --pair"]),
]


@pytest.mark.parametrize(("asked", "parts"), WRONG)
def test_a_wrong_question_gets_a_clear_message(config: Path, asked: dict[str, Any], parts: list[str]) -> None:
    given = {"slices": BOTH, "name": "accuracy", **asked}
    with pytest.raises(ConfigError) as error:
        sli.compare(config, given.pop("name"), given.pop("slices"), **given)
    for part in parts:
        assert part in str(error.value)


def test_too_few_requests_are_no_comparison(config: Path, tmp_path: Path) -> None:
    few = {"start": "2024-01-16T03:00", "end": "2024-01-16T04:00", "pair": "request_id"}
    with pytest.raises(ConfigError, match="fewer than 100 predictions"):
        sli.compare(config, "accuracy", BOTH, settings=["min_support=100"], **few)
    least = sli.query(config, "accuracy", slice={"model": "champion"}, start=few["start"], end=few["end"]).predictions
    with pytest.raises(ConfigError, match="too few requests can be compared"):
        sli.compare(config, "accuracy", BOTH, settings=[f"min_support={least.iloc[0] - 3}"], **few)
    predictions, feedback = logged()
    number = predictions.request_id.str[1:].astype(float)
    # Of some requests the champion's label is known, of others the challenger's.
    known = [f"{MODELS[i % 2]}r{i}" for i in range(50, 60)]
    path = written(tmp_path, predictions[number.between(50, 59)], feedback[feedback.output_id.isin(known)], **ONE)
    sli.run(path, as_of="2024-01-18")
    with pytest.raises(ConfigError, match="no request has a label and a value on both sides"):
        sli.compare(path, "accuracy", BOTH, pair="request_id")


def test_files_that_changed_since_the_run_are_refused_and_new_ones_wait_for_the_next(tmp_path: Path) -> None:
    predictions, feedback = logged()
    path = written(tmp_path, predictions[:300], feedback, **ONE)
    sli.run(path, as_of="2024-01-18")
    before = sli.compare(path, "accuracy", BOTH, pair="request_id")
    predictions[300:].to_parquet(tmp_path / "predictions" / "new.parquet")
    assert sli.compare(path, "accuracy", BOTH, pair="request_id") == before
    file = sorted((tmp_path / "predictions").iterdir())[0]
    pd.read_parquet(file).iloc[1:].to_parquet(file)
    with pytest.raises(StoreError, match="was replaced or removed since the last run") as error:
        sli.compare(path, "accuracy", BOTH, pair="request_id")
    assert file.name in error.value.where
    sli.run(path, as_of="2024-01-19")
    assert sli.compare(path, "accuracy", BOTH, pair="request_id").pairing != before.pairing


def test_a_part_of_a_composite_id_names_the_requests(config: Path, tmp_path: Path) -> None:
    predictions, feedback = logged()
    kept = predictions[~predictions.output_id.str.startswith("again")].dropna(subset=["request_id"])
    names = kept.drop_duplicates("output_id").set_index("output_id")[["request_id", "model"]]
    labels = feedback.join(names, on="output_id").dropna(subset=["request_id"])
    path = written(tmp_path, kept, labels, slis=["roc_auc"])
    tree = yaml.safe_load(path.read_text())
    for log in ("predictions", "feedback"):
        tree[log]["id"] = ["request_id", "model"]
    tree["predictions"]["columns"] = ["region"]
    path.write_text(yaml.safe_dump(tree))
    sli.run(path, as_of="2024-01-18")
    found, same = (sli.compare(each, "roc_auc", BOTH, pair="request_id") for each in (path, config))
    assert (found.difference, found.low, found.high) == (same.difference, same.low, same.high)


def test_rankings_are_compared_by_the_queries_that_both_ranked(tmp_path: Path) -> None:
    random, frames = np.random.default_rng(9), []
    relevance = random.integers(0, 3, (60, 4)).astype(float)
    for i, model in enumerate(MODELS):
        score = relevance + (2.0 - i) * random.normal(size=relevance.shape)
        frame = pd.DataFrame({"score": score.ravel(), "label": relevance.ravel(), "model": model})
        frame["request_id"] = np.repeat([f"q{k}" for k in range(60)], 4)
        frame["output_id"] = [f"{model}{k}" for k in range(240)]
        frame["predicted_at"] = START + pd.to_timedelta(np.repeat(np.arange(60), 4), unit="min")
        frames.append(frame[frame.request_id != f"q{i}"])
    made = pd.concat(frames).assign(known_at=lambda rows: rows.predicted_at + pd.Timedelta("1h"), region="east")
    feedback = made[made.output_id != "champion40"][["output_id", "known_at", "label"]]
    changes = {"task": "ranking", "slis": [{"sli": "ndcg", "k": 4}], "slice_by": [["model"]]}
    path = written(
        tmp_path, made.drop(columns=["label", "known_at"]), feedback, predictions__query="request_id", **changes
    )
    sli.run(path, as_of="2024-01-18")
    found = sli.compare(path, "ndcg", BOTH, pair="request_id")
    assert found.pairing is not None
    assert (found.pairing.requests, found.pairing.compared, found.pairing.unlabelled) == (58, 57, (1, 0))
    formula = load_config(path).declared[0].formula
    for side in (found.first, found.second):
        kept = made[(made.model == side.slice) & ~made.request_id.isin(["q0", "q1", "q10"])]
        rows = kept.assign(prediction=kept.score, query=kept.request_id, usable=True, labelled=True)
        assert side.value == pytest.approx(value_on(formula, rows, task="ranking"), rel=1e-12)
    assert found.low < found.difference < found.high
    with pytest.raises(ConfigError, match="ndcg is over queries"):
        sli.compare(path, "ndcg", BOTH, pair="region")


def test_the_command_says_the_answer_the_numbers_and_what_was_left_out(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(config.parent, capsys)
    asked = ("compare", str(config), "roc_auc", "--slices", "model=champion,challenger")
    said = desk.call(*asked, "--pair", "request_id")
    found = sli.compare(config, "roc_auc", BOTH, pair="request_id")
    assert found.pairing is not None
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == found.sentence
    assert lines[0].startswith("challenger is better by 0.0")
    assert lines[0].endswith(f"from {found.pairing.compared} requests that both scored")
    assert [line.split()[0] for line in lines[1:5]] == ["model", "champion", "challenger", "difference"]
    assert said.has("interval from 999 resamples of the requests", "left out: label missing", "the first counts: 3 of")
    assert desk.call(*asked).has("taken as independent", "from stored tiles")
    assert desk.call(*asked[:2], "accuracy", *asked[3:], "--pair", "request_id").has("McNemar's test: p = ")
    tree = json.loads(desk.call(*asked, "--pair", "request_id", "--json").out)
    assert tree["sentence"] == found.sentence
    assert (tree["difference"], tree["p"]) == (found.difference, None)
    assert tree["pairing"]["compared"] == found.pairing.compared
    assert desk.call(*asked[:4], "model").code == 2
    own = (*asked[:2], "own", *asked[3:], "--pair", "request_id")
    assert desk.call(*own, "--no-code").has("--no-code")


def test_the_sentence_says_which_slice_is_better_as_the_objective_or_the_sli_has_it(config: Path) -> None:
    loss = replace(sli.compare(config, "log_loss", BOTH), difference=-0.25, low=-0.5, high=-0.125)
    assert loss.sentence.startswith("challenger is better by 0.25 (95% interval 0.125 to 0.5), from ")
    cost = replace(loss, better=None, difference=0.25, low=0.125, high=0.5)
    assert cost.sentence.startswith("challenger is higher by 0.25 (95% interval 0.125 to 0.5), from ")
    assert replace(cost, better="lower").sentence.startswith("challenger is worse by 0.25")
    worse = replace(cost, better="higher", difference=-0.25, low=-0.5, high=-0.125)
    assert worse.sentence.startswith("challenger is worse by 0.25 (95% interval 0.125 to 0.5)")
    unclear = replace(worse, high=0.0)
    assert unclear.sentence.startswith("no difference can be told: challenger minus champion is -0.25")
