"""What a change comes from: planted in one slice, in bad rows, in labels still missing, or by chance alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import config_tree
from plain import value_on

import sli
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.judging.bad_data import beyond_chance
from sli.judging.explain import Explanation, explanations
from sli.judging.sides import Change, change_of, question_of
from sli.judging.standing import standing, surely_worse
from sli.judging.windows import compared_windows
from sli.publishing.store import Store
from sli.reading.figures import record
from sli.reading.publication import opened
from sli.reading.query import answer
from sli.reading.raw_pairs import raw_pairs

START, DAYS, A_DAY = pd.Timestamp("2024-01-15", tz="UTC"), 14, 120
WEEK = START + pd.Timedelta(days=7)
SLIS = ["accuracy", {"sli": "recall", "objective": ">= 0.4"}, "roc_auc", "feedback_delay", "coverage",
        {"name": "cost", "states": {"loss": "sum((label <> decision)::INT)"}, "value": "loss / labelled"},
        {"name": "shift", "sli": "psi"}]  # fmt: skip


MERGED = ["accuracy", {"sli": "recall", "objective": ">= 0.4"}, "roc_auc", "feedback_delay"]


def log(seed: int = 7) -> pd.DataFrame:
    """Two weeks of predictions at three sites of two sizes each; about 80 % are right."""
    random, n = np.random.default_rng(seed), DAYS * A_DAY
    label = random.random(n) < 0.4
    right = random.random(n) < 0.8
    return pd.DataFrame(
        {
            "output_id": [f"p{i}" for i in range(n)],
            "predicted_at": START + pd.to_timedelta(np.arange(n) * 86_400 // A_DAY, unit="s"),
            "site": random.choice(["A", "B", "C"], n),
            "size": random.choice(["large", "small"], n),
            "score": np.where(right == label, 0.7, 0.3) + random.uniform(-0.2, 0.19, n),
            "label": label.astype(float),
        }
    )


def published(folder: Path, rows: pd.DataFrame, known: pd.DataFrame | None = None, **changes: Any) -> Config:
    """The store of a log; `known` are the rows whose labels are in (default: all), an hour later."""
    known = rows if known is None else known
    for name in ("predictions", "feedback"):
        (folder / name).mkdir(parents=True)
    rows.drop(columns="label").to_parquet(folder / "predictions/a.parquet")
    feedback = known[["output_id", "label"]].assign(known_at=known.predicted_at + pd.Timedelta("1h"))
    feedback.to_parquet(folder / "feedback/a.parquet")
    keys = {"slis": SLIS, "slice_by": [[], ["site"], ["site", "size"]], "grains": ["day"]} | changes
    config = Config(**config_tree(folder, **keys))
    sli.run(config, as_of="2024-01-29T12:00")
    return config


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Site B decides at random in the second week."""
    rows = log()
    at = (rows.site == "B") & (rows.predicted_at >= WEEK)
    rows.loc[at, "score"] = np.random.default_rng(1).uniform(0.1, 0.9, int(at.sum()))
    return published(tmp_path_factory.mktemp("planted"), rows)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Nothing changes."""
    return published(tmp_path_factory.mktemp("alike"), log(), slis=MERGED)


@pytest.fixture(scope="module")
def alone(planted: Config) -> dict[str, Explanation]:
    """Each SLI explained alone."""
    return {one.name: sli.explain(planted, one.name) for one in planted.declared}


@pytest.fixture(scope="module")
def worse(alone: dict[str, Explanation]) -> Explanation:
    return alone["accuracy"]


@pytest.fixture(scope="module")
def pairs(planted: Config, worse: Explanation) -> pd.DataFrame:
    """All raw pairs of both weeks."""
    store = Store(planted.store)
    return raw_pairs(planted, store.inputs(store.published()), worse.as_of.value // 1000)


def answers(found: Explanation) -> dict[str, str]:
    return {finding.question: finding.answer for finding in found.findings}


def test_a_change_in_one_slice_is_real_and_names_it(worse: Explanation) -> None:
    found = worse
    assert found.verdict == "one slice"
    assert "accuracy fell by" in found.sentence
    assert "It is real, mostly site=B" in found.sentence
    assert answers(found) == {"Chance?": "no", "Late labels?": "no", "Bad data?": "no", "One slice?": "mostly site=B"}
    assert found.slices[0].slice == {"site": "B"}
    assert found.to_dict()["verdict"] == "one slice"


def test_chance_is_nothing_to_explain(alike: Config) -> None:
    found = sli.explain(alike, "accuracy")
    assert found.verdict == "chance"
    assert found.change.low < 0 < found.change.high
    assert "Nothing to explain" in found.sentence


def test_an_sli_without_an_interval_cannot_be_judged(alone: dict[str, Explanation]) -> None:
    found = alone["cost"]
    assert found.verdict == "no interval"
    assert "Chance cannot be judged: cost has no interval" in found.sentence


def test_labels_that_are_missing_could_explain_it(tmp_path: Path) -> None:
    """Of the second week only labels of wrong decisions are in."""
    rows = log()
    wrong = (rows.score >= 0.5) != (rows.label == 1)
    known = rows[(rows.predicted_at < WEEK) | wrong | (rows.index % 3 == 0)]
    config = published(tmp_path, rows, known, horizon="14d", slis=["accuracy", "coverage"], slice_by=[[]])
    found = sli.explain(config, "accuracy")
    assert found.verdict == "late labels"
    assert answers(found)["Late labels?"] == "could undo it"
    assert "labels are missing; whatever they say, accuracy ends between" in found.findings[1].finding
    assert sli.explain(config, "coverage").verdict == "late labels"


def test_rows_set_aside_beyond_those_of_the_week_before_are_bad_data(tmp_path: Path) -> None:
    """A tenth of the scores of the second week, all of right decisions, is no probability."""
    rows = log()
    right = (rows.score >= 0.5) == (rows.label == 1)
    rows.loc[(rows.predicted_at >= WEEK) & right & (rows.index % 2 == 0), "score"] = 2.0
    found = sli.explain(published(tmp_path, rows, slis=["accuracy"], slice_by=[[]]), "accuracy")
    assert found.verdict == "bad data"
    assert "rows of predictions invalid" in found.findings[2].finding
    assert "(0 per as many predictions before)" in found.sentence


def test_rows_too_few_to_explain_a_collapse_are_a_remark(tmp_path: Path) -> None:
    """All decisions of the second week are wrong, and one label in 25 is none."""
    rows = log()
    second = rows.predicted_at >= WEEK
    rows.loc[second, "score"] = np.where(rows.label[second] == 1, 0.2, 0.8)
    known = rows.assign(label=rows.label.where(~second | (rows.index % 25 > 0), 7.0))
    found = sli.explain(published(tmp_path, rows, known), "accuracy")
    assert found.verdict == "all slices"
    assert answers(found)["Bad data?"] == "no"
    assert "too few to explain it" in found.findings[2].finding


def test_labels_missing_as_invalid_rows_are_bad_data_and_no_late_labels(tmp_path: Path) -> None:
    """Half of the labels of right decisions are none in the second week."""
    rows = log()
    right = (rows.score >= 0.5) == (rows.label == 1)
    spoilt = (rows.predicted_at >= WEEK) & right & (rows.index % 2 == 0)
    config = published(tmp_path, rows, rows.assign(label=rows.label.where(~spoilt, 7.0)))
    [problem] = standing(config).problems
    assert "rows of feedback invalid" in problem
    assert "in the last 7 days (0 before): sli show CONFIG --table audit" in problem
    found = sli.explain(config, "accuracy")
    assert found.verdict == "bad data"
    assert answers(found)["Late labels?"] == "no"
    assert re.search(r"Bad data: \d+ of the \d+ missing labels are invalid rows", found.sentence)
    assert "of them came as rows that do not count" in found.findings[1].finding


def test_a_handful_of_rows_is_chance() -> None:
    assert not beyond_chance(4, 0, (80, 80))
    assert not beyond_chance(11, 3, (300, 300))
    assert beyond_chance(30, 3, (300, 300))
    assert not beyond_chance(30, 9, (300, 90)), "as many per prediction"


def test_the_drift_of_a_slice_is_that_against_its_own_reference(planted: Config, alone: dict[str, Explanation]) -> None:
    """The default reference is the window before: the first week has none."""
    first = alone["shift"]
    assert "shift has no value before: no reference values" in first.sentence
    assert (first.slices, first.findings[3].answer, first.findings[3].finding) == ((), "cannot be judged", "no values")
    found = sli.explain(planted, "shift", start="2024-01-26", end="2024-01-29", against="2024-01-23/2024-01-26")
    assert found.verdict == "no interval"
    assert {"A", "B", "C"} == {one.slice["site"] for one in found.slices if one.slice_by == ("site",)}
    assert all(one.explains == one.explains for one in found.slices)
    assert "0 of the 12 final days with a value have an interval" in found.since.sentence


def test_a_window_without_predictions_says_so(planted: Config) -> None:
    found = sli.explain(planted, "accuracy", start="2024-02-01", end="2024-02-08", against="2024-01-15/2024-01-22")
    assert found.verdict == "no value"
    assert "accuracy has no value now: no predictions" in found.sentence
    young = sli.explain(planted, "accuracy", start="2024-01-15", end="2024-01-20")
    assert "there is no time before to compare with" in young.sentence
    earlier = sli.explain(planted, "accuracy", start="2024-01-15", end="2024-01-22", against="2024-01-22/2024-01-29")
    assert "accuracy is higher by" in earlier.sentence
    assert "than in the later time" in earlier.sentence


@pytest.mark.parametrize("name", ["accuracy", "recall", "roc_auc", "feedback_delay"])
def test_what_a_slice_explains_is_the_sli_of_the_raw_pairs_chosen_likewise(
    planted: Config, alone: dict[str, Explanation], pairs: pd.DataFrame, name: str
) -> None:
    found = alone[name]
    [asked] = [one for one in planted.declared if one.name == name]
    assert Counter(one.slice_by for one in found.slices) == {("site",): 3, ("site", "size"): 6}
    for one in found.slices:
        inside = np.all([pairs[f"slice:{column}"] == value for column, value in one.slice.items()], axis=0)
        now = (pairs.predicted_at >= found.now.start) & (pairs.predicted_at < found.now.end)
        past = (pairs.predicted_at >= found.before.start) & (pairs.predicted_at < found.before.end)
        mixed = pairs[(now & ~inside) | (past & inside)]
        assert found.now.value - one.explains == pytest.approx(value_on(asked.formula, mixed, task="binary"), rel=2e-3)
        assert one.now.predictions == int((now & inside).sum())


def test_slices_are_those_within_the_slice_that_is_asked_for(planted: Config) -> None:
    found = sli.explain(planted, "accuracy", slice={"site": "B"})
    assert {tuple(one.slice.items()) for one in found.slices} == {
        (("site", "B"), ("size", size)) for size in ("large", "small")
    }
    assert sum(one.now.predictions for one in found.slices) == found.now.predictions
    assert answers(sli.explain(planted, "accuracy", slice={"site": "B", "size": "large"}))["One slice?"] == (
        "not asked"
    )


def test_slices_beyond_a_cap_are_one(tmp_path: Path) -> None:
    config = published(tmp_path, log(), slis=["accuracy"], slice_by=[[], {"columns": ["site", "size"], "top": 2}])
    names = {tuple(one.slice.values()) for one in sli.explain(config, "accuracy").slices}
    assert len(names) == 3
    assert ("(other)", "(other)") in names


def test_overlapping_windows_share_predictions(alike: Config) -> None:
    week = {"start": "2024-01-22", "end": "2024-01-29"}
    found = sli.explain(alike, "accuracy", **week, against="2024-01-21/2024-01-28")
    apart = change_of(found.now, found.before)
    assert found.change.value == pytest.approx(apart.value)
    assert found.change.high - found.change.low < 0.6 * (apart.high - apart.low)


def test_wrong_arguments_are_told(planted: Config, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: sli.explain(planted, "acuracy"), "did you mean 'accuracy'"),
        (lambda: sli.explain(planted, "accuracy", slice={"site": "Z"}), "there is no slice site=Z"),
        (lambda: sli.explain(planted, "accuracy", against="2024-01-22/2024-01-29"), "compared with itself"),
        (lambda: sli.explain(planted, "accuracy", against="2024-01-15"), "`against` needs START/END"),
        (lambda: sli.explain(planted, "accuracy", against="2024-01-16/2024-01-15"), "empty\n  where: against\n"),
        (lambda: sli.explain(planted, "accuracy", start="2030-01-01"), "predictions end at 2024-0"),
        (lambda: sli.explain(planted, "accuracy", end="2001-01-01"), "predictions count from 2024-0"),
        (lambda: sli.explain(planted, "accuracy", start="2024-01-22", end="2024-01-20"), "empty"),
        (lambda: sli.explain(planted, "accuracy", as_of="2024-01-01"), "2024-01-01"),
        (lambda: sli.explain(Config(**config_tree(tmp_path)), "accuracy"), "nothing is published yet"),
    ]
    for call, text in cases:
        with pytest.raises((ConfigError, StoreError), match=text):
            call()


def test_many_slis_are_explained_as_each_alone(
    planted: Config, alone: dict[str, Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, publication = {name: found.to_dict() for name, found in alone.items()}, opened(planted)

    def together() -> dict[str, Explanation]:
        windows = compared_windows(planted, publication.published)
        return explanations(publication, [publication.sli(name) for name in alone], windows, {})

    assert {name: found.to_dict() for name, found in together().items()} == expected
    monkeypatch.setattr("sli.judging.explain.BATCH", 4)
    monkeypatch.setattr("sli.judging.one_slice.TOGETHER", 1)
    assert {name: found.to_dict() for name, found in together().items()} == expected


def test_the_standing_is_the_last_week_beside_the_week_before(planted: Config, worse: Explanation) -> None:
    found = standing(planted)
    assert [one.sli for one in found.slis][:2] == ["recall", "accuracy"]
    by_name = {one.sli: one for one in found.slis}
    assert (by_name["accuracy"].now, by_name["accuracy"].change) == (worse.now, worse.change)
    assert found.sentence.startswith("The last 7 days: recall 0.")
    assert by_name["feedback_delay"].unit == "s"
    assert found.problems == ()
    assert standing(planted, failure="the disk is full").problems == ("the disk is full",)
    assert found.to_dict()["verdict"] == found.verdict


def test_of_many_slis_the_worst_is_judged_as_the_worst_of_many(planted: Config) -> None:
    """A change at 2.3 standard errors is told of one SLI, not of the worst of eight."""
    found = standing(planted)
    assert "accuracy" in [one.sli for one in surely_worse(found)]
    [accuracy] = [one for one in found.slis if one.sli == "accuracy"]
    change = Change(value=-0.023, low=-0.0426, high=-0.0034)
    assert change.p_value(0.95) == pytest.approx(0.0214, abs=0.0005)
    doubtful, same = replace(accuracy, change=change), Change(value=0.0, low=-0.01, high=0.01)
    others = [replace(accuracy, sli=f"accuracy_{i}", change=same) for i in range(7)]
    assert surely_worse(replace(found, slis=(doubtful,))) == [doubtful]
    assert surely_worse(replace(found, slis=(doubtful, *others))) == []


def test_a_config_without_the_whole_has_it_from_its_slices(alike: Config, tmp_path: Path) -> None:
    parted = published(tmp_path, log(), slis=MERGED, slice_by=[["site"]], grains=["hour"])
    whole, merged = standing(alike), standing(parted)
    assert [record(one.now) for one in merged.slis] == [record(one.now) for one in whole.slis]
    columns = ["sli", "window_start", "value", "ci_low", "predictions"]
    days = answer(question_of(opened(parted), ("1d", None, None, None), None), parted.declared)[columns]
    pd.testing.assert_frame_equal(days, sli.read(alike, grain="day", slice={})[columns])
