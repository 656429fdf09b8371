"""Laws of a user's own SLIs: what a function gets, what is refused, and that mergeable ones equal plain rows."""

import json
import math
import pickle
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from plain import value_on
from sklearn import metrics

from sli.errors import ConfigError
from sli.mergeable import (
    Groups,
    Histograms,
    Merged,
    count,
    groups,
    histogram,
    largest,
    mergeable,
    proportion,
    smallest,
    total,
)
from sli.slis.custom.function import pickled, value_or_reason
from sli.slis.custom.imports import load
from sli.slis.custom.mergeable import Mergeable, from_mergeable
from sli.slis.custom.python import from_python
from sli.slis.custom.sampled import UNSCORED
from sli.slis.custom.signature import source_hash, y_pred
from sli.slis.custom.sql import from_sql
from sli.slis.kinds.samples import SAMPLE_ROWS, Samples
from sli.slis.kinds.windows import WindowValues

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sli.md").read_text()
SECTIONS = re.findall(r"## (Your own, in (?:SQL|Python))\n(.*?)(?=\n## )", PAGE, flags=re.DOTALL)
OWN = """
import warnings
import numpy as np
import custom_helper
from sli.mergeable import count, mergeable, total

def gap(y_true, y_pred):
    return float(np.mean(y_pred - y_true))

def scaled(y_true, y_pred, factor, offset=0):
    return custom_helper.double(gap(y_true, y_pred)) * factor + offset

def weighed(y_true, y_pred, weight):
    return np.average(y_pred - y_true, weights=weight)

def regions(y_true, y_pred, slices):
    return len(set(slices["region"]) - {None}) + (slices["region"] == None).sum() / 1000

def growth(y_true, y_pred, reference):
    return gap(y_true, y_pred) - gap(*reference)

def share_a(y_true, y_pred):
    return np.mean(y_true == "a") + 10 * np.mean(y_pred == "a")

def share_b(y_true, y_pred, y_score):
    return y_score[:, 1].mean() + 10 * np.mean(y_pred == "b")

def maybe(y_true, y_pred, y_score=None):
    return -1.0 if y_score is None else y_score[:, 0].mean()

def brier_growth(y_true, y_proba, reference):
    return gap(y_true == "a", y_proba[:, 0]) - gap(reference[0] == "a", reference[1][:, 0])

def spoils(y_true, y_pred):
    y_true[:] = 0
    return 1.0

def loud(y_true, y_pred):
    warnings.warn("look at me")
    return float(np.array(1.0) / np.array(0.0) > 1)

def fails(y_true, y_pred):
    raise ValueError("not today")

def lone(y_true):
    return 1.0

def often_none(y_true, y_pred):
    return gap(y_true, y_pred) if np.random.default_rng(int(y_true.sum())).random() < 0.8 else np.nan

@mergeable(loss=total("abs(prediction - label) * weight", "usable"), weight=total("weight", "usable"))
def weighted_mae(s):
    return s["loss"] / s["weight"]

@mergeable(n=count("usable"))
def raises(s):
    raise KeyError("nothing")

@mergeable(n=count("usable"))
def changes(s):
    s["n"][:] = 0
    return s["n"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("beside")
    (made / "custom_own.py").write_text(OWN)
    (made / "custom_helper.py").write_text("def double(x):\n    return 2 * x\n")
    return made


def pairs_of(n, seed=0, classes=()):
    random = np.random.default_rng(seed)
    prediction = random.normal(size=n)
    made = pd.DataFrame({"prediction": prediction, "label": prediction + random.normal(0.3, 1, n)})
    made["label"] = made.label.where(random.random(n) < 0.9)
    made["region"] = random.choice(np.array(["north", "south", None], dtype=object), n)
    made["weight"] = random.gamma(2, 1, n)
    made["labelled"] = made.label.notna()
    made["usable"] = made.labelled & made.prediction.notna()
    made["decision"] = made.prediction >= 0
    if classes:
        names = np.array(classes, dtype=object)
        made["prediction"] = names[random.integers(0, len(names), n)]
        made["label"] = np.where(made.labelled, names[random.integers(0, len(names), n)], None)
        scores = random.dirichlet(np.ones(len(names)), n)
        scores[random.random(n) < 0.1, -1] = math.nan
        made = made.assign(**{f"p_{name}": scores[:, i] for i, name in enumerate(names)})
    return made


def merged(*frames, of="prediction", classes=(), exact=None, reference=None, level=0.95, scores=()):
    """What the kernel gives a function of arrays: samples, here of frames that are rows in random order."""
    places = {name: float(i) for i, name in enumerate(classes)}
    kept = [frame[frame.usable & frame[list(scores)].notna().all(axis=1)] for frame in frames]
    sample = [each.iloc[:SAMPLE_ROWS] for each in kept]

    def numbers(frame, name):
        return frame[name].map(places).to_numpy(float) if classes else frame[name].to_numpy(float)

    texts = [
        {
            name: np.array([None if pd.isna(v) else str(v) for v in each[name]], dtype=object)
            for name in ("region", "weight", *scores)
        }
        for each in sample
    ]
    n = len(frames)
    states = {
        "usable": np.array([len(each) for each in kept]),
        UNSCORED: np.array([each.usable.sum() for each in frames]) - [len(each) for each in kept],
        "sample": Samples(
            [numbers(each, "label") for each in sample],
            [numbers(each, of) for each in sample],
            [np.arange(len(each), dtype=np.int64) for each in sample],
            texts,
        ),
        "window": WindowValues(np.full(n, math.nan), np.full(n, None, dtype=object)) if exact is None else exact,
    }
    if reference is not None:
        del states["window"]
    sizes = np.array([len(each) for each in frames])
    return Merged(
        sizes, np.array([each.labelled.sum() for each in frames]), states, np.zeros(n, dtype=np.int64), level, reference
    )


def formula(folder, python, of="prediction", classes=(), scores=None, **entry):
    return from_python({"name": "x", "python": python, **entry}, folder, of, classes, scores)


@pytest.mark.parametrize("call", ["sklearn.metrics:mean_absolute_error", "sklearn.metrics.mean_absolute_error"])
def test_a_function_gets_its_weights_by_name(folder, call):
    pairs = pairs_of(300)
    kept = pairs[pairs.usable]
    weighed = formula(folder, call, weight="weight")
    found = weighed.value(merged(pairs))
    expected = metrics.mean_absolute_error(kept.label, kept.prediction, sample_weight=kept.weight)
    assert found.value[0] == value_on(weighed, pairs) == expected
    assert found.bound[0] == 0
    assert math.isnan(found.low[0])
    own = formula(folder, "custom_own:weighed", weight="weight")
    expected = np.average(kept.prediction - kept.label, weights=kept.weight)
    assert own.value(merged(pairs)).value[0] == value_on(own, pairs) == pytest.approx(expected, rel=1e-12)


def test_a_function_of_classes_gets_their_names_and_its_constants(folder):
    classes = ("a", "b", "c")
    pairs = pairs_of(300, classes=classes)
    kept = pairs[pairs.usable]
    for average in ("macro", "weighted"):
        f1 = formula(folder, "sklearn.metrics:f1_score", classes=classes, **{"with": {"average": average}})
        expected = metrics.f1_score(list(kept.label), list(kept.prediction), average=average)
        assert f1.value(merged(pairs, classes=classes)).value[0] == value_on(f1, pairs) == expected
    named = formula(folder, "custom_own:share_a", classes=classes)
    expected = np.mean(kept.label == "a") + 10 * np.mean(kept.prediction == "a")
    assert named.value(merged(pairs, classes=classes)).value[0] == value_on(named, pairs) == expected


CLASSES = ("c", "a", "b")
SCORES = {name: f"p_{name}" for name in CLASSES}
LABELS = {"labels": sorted(CLASSES)}


@pytest.mark.parametrize(
    ("call", "given", "of"),
    [
        ("sklearn.metrics:log_loss", LABELS, None),
        ("sklearn.metrics:roc_auc_score", {"multi_class": "ovr", **LABELS}, None),
        ("sklearn.metrics:top_k_accuracy_score", {"k": 2, **LABELS}, None),
        ("sklearn.metrics:log_loss", LABELS, "scores"),
    ],
)
def test_a_function_of_scores_gets_a_column_a_class_by_name_whatever_their_order_in_the_config(folder, call, given, of):
    pairs = pairs_of(300, classes=CLASSES)
    of = of or y_pred({"python": call}, folder, "multiclass")
    found = formula(folder, call, of, CLASSES, SCORES, **{"with": given})
    kept = pairs[pairs.usable & pairs[list(SCORES.values())].notna().all(axis=1)]
    p = kept[["p_a", "p_b", "p_c"]].to_numpy()
    expected = getattr(metrics, call.split(":")[1])(kept.label.astype(str), p, **given)
    value = found.value(merged(pairs, classes=CLASSES, scores=SCORES.values()))
    assert value.value[0] == value_on(found, pairs) == expected
    assert value.bound[0] == 0
    assert "p_c" in found.states["window"].columns


def test_a_function_may_get_scores_beside_the_predictions(folder):
    pairs = pairs_of(300, classes=CLASSES)
    kept = pairs[pairs.usable & pairs.p_b.notna()]
    both = formula(folder, "custom_own:share_b", classes=CLASSES, scores=SCORES)
    given = merged(pairs, classes=CLASSES, scores=SCORES.values())
    expected = kept.p_b.mean() + 10 * (kept.prediction == "b").mean()
    assert both.value(given).value[0] == value_on(both, pairs) == pytest.approx(expected, rel=1e-12)
    assert value_on(formula(folder, "custom_own:maybe", classes=CLASSES, scores=SCORES), pairs) < 1
    assert value_on(formula(folder, "custom_own:maybe", classes=CLASSES), pairs) == -1
    assert (
        value_on(
            formula(folder, "custom_own:maybe", classes=CLASSES, scores=SCORES, **{"with": {"y_score": None}}), pairs
        )
        == -1
    )
    none = pairs.assign(p_a=math.nan)
    assert both.value(merged(none, classes=CLASSES, scores=SCORES.values())).reason[0] == (
        "no labelled predictions with all scores"
    )
    assert math.isnan(value_on(both, none))


def test_the_reference_of_a_function_of_scores_has_scores(folder):
    pairs, then = pairs_of(300, classes=CLASSES), pairs_of(200, seed=1, classes=CLASSES)
    found = formula(folder, "custom_own:brier_growth", "scores", CLASSES, SCORES, against="previous")
    now, before = (merged(each, classes=CLASSES, scores=SCORES.values()) for each in (pairs, then))
    states = {name: of for name, of in now.states.items() if name != "window"}
    value = found.value(Merged(now.predictions, now.labelled, states, now.ends, reference=before)).value[0]
    assert value == value_on(found, pairs, then)
    assert abs(value) < 0.5


def test_scores_that_are_not_there_are_asked_for(folder):
    for call, of in (("sklearn.metrics:log_loss", "scores"), ("custom_own:share_b", "prediction")):
        with pytest.raises(ConfigError, match="needs a score for every class"):
            formula(folder, call, of, CLASSES, {"a": "p_a"})
    assert y_pred({"python": "sklearn.metrics:roc_auc_score"}, folder, "binary") == "decision"
    assert y_pred({"python": "sklearn.metrics:accuracy_score"}, folder, "multiclass") == "prediction"


def test_constants_of_a_wrong_kind_are_named_for_functions_of_scores_too(folder):
    with pytest.raises(ConfigError, match="`with` must map parameters to constants"):
        formula(folder, "custom_own:maybe", classes=CLASSES, scores=SCORES, **{"with": 5})


def test_functions_without_scores_keep_their_states(folder):
    plain, scored = (formula(folder, "custom_own:share_a", classes=CLASSES, scores=each) for each in ({}, SCORES))
    assert plain.states == scored.states
    assert plain.states["sample"].where == "usable"
    assert "scores" not in json.loads(plain.states["window"].call)


def test_a_function_gets_slices_as_texts_and_null_as_none(folder):
    pairs = pairs_of(300)
    expected = 2 + pairs[pairs.usable].region.isna().sum() / 1000
    found = formula(folder, "custom_own:regions", columns=["region"])
    assert found.value(merged(pairs)).value[0] == value_on(found, pairs) == expected


def test_a_function_gets_the_sample_of_its_reference(folder):
    small, large, none = pairs_of(300), pairs_of(3000, seed=1), pairs_of(50).assign(usable=False)
    found = formula(folder, "custom_own:growth", against="previous")
    assert found.against == "previous"
    assert set(found.states) == {"sample", "usable"}
    values = found.value(merged(small, small, small, none, reference=merged(pairs_of(200, seed=2), large, none, small)))
    assert values.value[0] == value_on(found, small, pairs_of(200, seed=2))
    assert values.bound[0] == 0
    assert math.isnan(values.bound[1])
    assert values.low[1] < values.value[1] < values.high[1]
    assert list(values.reason) == [None, None, "no reference values", "no labelled predictions"]
    assert math.isnan(value_on(found, small, none))


def test_a_value_on_all_pairs_goes_before_the_sample(folder):
    exact = WindowValues(np.array([7.0, math.nan]), np.array([None, "ValueError: no"], dtype=object))
    found = formula(folder, "custom_own:gap").value(merged(pairs_of(3000), pairs_of(3000), exact=exact))
    assert list(found.reason) == [None, "ValueError: no"]
    assert found.value[0] == 7
    assert found.bound[0] == 0
    assert math.isnan(found.low[0])


@pytest.mark.parametrize(("level", "resamples"), [(0.9, 199), (0.95, 199), (0.99, 999)])
def test_beyond_a_sample_the_interval_is_the_fifth_of_the_resamples_from_either_end(folder, level, resamples):
    given = merged(pairs_of(3000), level=level)
    gap = formula(folder, "custom_own:gap")
    found, again = gap.value(given), gap.value(given)
    assert (found.low[0], found.high[0]) == (again.low[0], again.high[0])
    random = np.random.default_rng(given["sample"].keys[0].view(np.uint32))
    errors = given["sample"].prediction[0] - given["sample"].label[0]
    drawn = sorted(errors[random.integers(0, SAMPLE_ROWS, SAMPLE_ROWS)].mean() for _ in range(resamples))
    beyond = round((resamples + 1) * (1 - level) / 2)
    assert [found.low[0], found.high[0]] == pytest.approx([drawn[beyond - 1], drawn[-beyond]], rel=1e-9)
    assert math.isnan(found.bound[0])


def test_a_function_without_a_value_on_many_resamples_has_no_interval(folder):
    found = [formula(folder, "custom_own:often_none").value(merged(pairs_of(3000, seed=i))) for i in range(4)]
    assert all(math.isnan(each.low[0]) for each in found)
    assert any(not math.isnan(each.value[0]) for each in found)


def test_warnings_and_errors_of_a_function_end_nothing(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert formula(folder, "custom_own:loud").value(merged(pairs_of(50))).value[0] == 1
        assert warnings.filters[0][0] == "error"
    failed = formula(folder, "custom_own:fails").value(merged(pairs_of(50)))
    assert failed.reason[0] == "ValueError: not today"


def test_a_function_that_changes_its_arrays_changes_only_its_own(folder):
    given = merged(pairs_of(50))
    before = given["sample"].label[0].copy()
    assert formula(folder, "custom_own:spoils").value(given).value[0] == 1
    assert (given["sample"].label[0] == before).all()


def test_functions_share_a_sample_and_have_windows_of_their_own(folder):
    made = [
        formula(folder, "custom_own:gap"),
        formula(folder, "sklearn.metrics:r2_score"),
        *(formula(folder, "custom_own:scaled", **{"with": {"factor": f}}) for f in (1, 2)),
    ]
    assert len({each.states["sample"].id for each in made}) == 1
    assert len({each.states["window"].id for each in made}) == 4


def test_a_function_travels_with_all_it_needs_to_where_its_modules_are_not(folder, tmp_path):
    state = formula(folder, "custom_own:scaled", weight=None, **{"with": {"factor": 3}}).states["window"]
    assert json.loads(state.call)["with"] == {"factor": 3}
    (tmp_path / "function").write_bytes(pickled(state.call, str(folder)))
    code = (
        "import pickle, numpy as np; from sli.slis.custom.function import value_or_reason; "
        f"f = pickle.load(open({str(tmp_path / 'function')!r}, 'rb')); "
        "print(value_or_reason(f, np.array([1., 2.]), np.array([2., 4.]), {}))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == "(9.0, None)", found.stderr


@pytest.mark.parametrize("call", ["custom_own:gap", "custom_own:weighted_mae"])
def test_an_sli_travels_to_where_its_modules_are_not_with_all_it_needs(folder, tmp_path, call):
    """Workers that roll up get whole SLIs; for a mergeable function a state is enough that it never sees."""
    value = formula(folder, call).value
    (tmp_path / "value").write_bytes(pickle.dumps(value))
    code = f"import pickle; value = pickle.load(open({str(tmp_path / 'value')!r}, 'rb')); print(type(value).__name__)"
    for known in (False, True):  # whether this process has called it
        found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert found.stdout.strip() == "_InRange", found.stderr
        if not known:
            states = {"loss": np.ones(1), "weight": np.ones(1)} if "weighted" in call else merged(pairs_of(50)).states
            value(Merged(np.ones(1, int), np.ones(1, int), states, np.ones(1, int)))
            (tmp_path / "value").write_bytes(pickle.dumps(value))


def test_a_pickled_function_of_weights_turns_texts_to_numbers(folder):
    state = formula(folder, "custom_own:weighed", weight="weight").states["window"]
    assert state.columns == ("weight",)
    function = pickle.loads(pickled(state.call, str(folder)))
    columns = {"weight": np.array(["1", "3"], dtype=object)}
    assert value_or_reason(function, np.zeros(2), np.array([0.0, 4.0]), columns) == (3.0, None)
    columns = {"weight": np.array(["1", "many"], dtype=object)}
    assert value_or_reason(function, np.zeros(2), np.ones(2), columns)[1].startswith("ValueError: could not convert")


@pytest.mark.parametrize(
    ("python", "entry", "parts"),
    [
        ("sklearn.metrics:f1_scor", {}, ["does not name a function", "did you mean 'f1_score'?"]),
        ("f1_score", {}, ["'f1_score' does not name a function", "module:function"]),
        ("nowhere_at_all:f", {}, ["cannot be imported", "ModuleNotFoundError"]),
        ("custom_own:gap", {"weight": "weight"}, ["'weight'", "'custom_own:gap'", "sample_weight or weight"]),
        ("custom_own:gap", {"columns": ["region"]}, ["'columns'", "'custom_own:gap'", "slices"]),
        ("custom_own:gap", {"against": "previous"}, ["'against'", "'custom_own:gap'", "reference"]),
        ("custom_own:weighed", {}, ["needs 'weight'", "the key 'weight'", "weight: COLUMN"]),
        ("custom_own:regions", {"columns": []}, ["needs 'slices'", "the key 'columns'", "columns: [COLUMN]"]),
        ("custom_own:growth", {}, ["needs 'reference'", "the key 'against'", "against: previous"]),
        ("custom_own:scaled", {}, ["needs 'factor'", "with: {factor: ...}"]),
        ("custom_own:scaled", {"with": {"facter": 1}}, ["no parameter 'facter'", "did you mean 'factor'?"]),
        ("custom_own:scaled", {"with": {"y_true": 1, "factor": 1}}, ["no parameter 'y_true'"]),
        ("custom_own:scaled", {"with": [1]}, ["`with` must map parameters to constants"]),
        ("custom_own:scaled", {"with": {"factor": pd.Timestamp(0)}}, ["`with` must map parameters to constants"]),
        ("custom_own:weighed", {"weight": "w", "with": {"weight": 1}}, ["'weight' and 'with' both give 'weight'"]),
        ("custom_own:weighed", {"weight": ["w"]}, ["`weight` must be the name of a column"]),
        ("custom_own:regions", {"columns": "region"}, ["`columns` must be a list of columns"]),
        ("custom_own:lone", {}, ["does not take two arrays", "function(y_true, y_pred)"]),
        ("custom_own:weighted_mae", {"weight": "w"}, ["is mergeable and takes no 'weight'", "its states name"]),
    ],
)
def test_what_a_function_does_not_take_or_needs_is_named(folder, python, entry, parts):
    with pytest.raises(ConfigError) as error:
        formula(folder, python, **entry)
    for part in parts:
        assert part in str(error.value)


def test_each_config_gets_the_module_beside_it(tmp_path):
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "custom_same.py").write_text(f"def f(y_true, y_pred):\n    return {len(name)}.0, '{name}'\n")
        assert load("custom_same:f", tmp_path / name)(0, 0)[1] == name


def test_the_hash_of_a_source_follows_source_and_states(tmp_path):
    found = []
    for i, (where, factor) in enumerate([("usable", 1), ("usable", 2), ("true", 1)]):
        code = (
            "from sli.mergeable import mergeable, total\nX = total('label', '{}')\n"
            "@mergeable(x=X)\ndef f(s):\n    return s['x'] * {}\n"
        )
        (tmp_path / f"custom_{i}.py").write_text(code.format(where, factor))
        found.append(source_hash({"python": f"custom_{i}:f"}, tmp_path))
    assert len(set(found)) == 3
    assert source_hash({"python": "numpy:add"}, tmp_path) == source_hash({"python": "numpy.add"}, tmp_path)
    assert source_hash({"python": "numpy:add"}, tmp_path) != source_hash({"python": "numpy:subtract"}, tmp_path)


def states_of(found, *frames):
    """States of a mergeable SLI as the tiles of frames would give them, from pandas alone."""

    def chosen(frame, state):
        kept = frame[frame.usable] if "usable" in state.where else frame
        return kept.eval(state.of.replace("::DOUBLE", ""))

    return {
        name: np.array([chosen(each, state).sum() for each in frames]) if state.kind == "sum" else None
        for name, state in found.states.items()
    }


def test_a_mergeable_function_is_the_same_from_states_and_from_rows(folder):
    frames = [pairs_of(300), pairs_of(5, seed=1), pairs_of(4, seed=2).assign(labelled=False, usable=False, label=None)]
    found = formula(folder, "custom_own:weighted_mae")
    states = states_of(found, *frames[:2], frames[2].assign(label=math.nan))
    states = {name: np.where([True, True, False], of, math.nan) for name, of in states.items()}
    rows = np.array([len(each) for each in frames])
    values = found.value(Merged(rows, np.array([each.labelled.sum() for each in frames]), states, np.zeros(3, int)))
    for i, frame in enumerate(frames[:2]):
        kept = frame[frame.usable]
        expected = metrics.mean_absolute_error(kept.label, kept.prediction, sample_weight=kept.weight)
        assert values.value[i] == pytest.approx(expected, rel=1e-12)
        assert value_on(found, frame) == pytest.approx(expected, rel=1e-12)
    assert list(values.reason) == [None, None, "no labelled predictions"]
    assert list(values.bound[:2]) == [0, 0]
    assert math.isnan(value_on(found, frames[2].assign(label=pd.Series([None] * 4, dtype=object))))


def counted(function, n=3, reference=None, **states):
    made = from_mergeable_of(function)
    states = {"n": np.arange(n), **states}
    return made.value(Merged(np.full(n, 4), np.full(n, 2), states, np.zeros(n, int), reference=reference))


def from_mergeable_of(function, **states):
    return from_mergeable(mergeable(n=total("label"), **states)(function), {"name": "x", "python": "m:f"})


@pytest.mark.parametrize(
    ("function", "values", "reasons"),
    [
        (lambda s: s["n"] / 2, [0, 0.5, 1], [None] * 3),
        (lambda s: 1 / s["n"], [math.nan, 1, 0.5], ["the value is infinite", None, None]),
        (lambda s: s["n"] / s["n"], [math.nan, 1, 1], ["the value is null", None, None]),
        (lambda s: 3, [3, 3, 3], [None] * 3),
        (lambda s: [1, 2], [math.nan] * 3, ["ValueError: the value is neither one number nor one a row"] * 3),
        (lambda s: s["m"], [math.nan] * 3, ["KeyError: 'm'"] * 3),
        (lambda s: None, [math.nan] * 3, ["the value is null"] * 3),
        (lambda s: "much", [math.nan] * 3, ["ValueError: could not convert string to float: 'much'"] * 3),
    ],
)
def test_what_a_mergeable_function_returns_is_a_value_or_a_reason(function, values, reasons):
    found = counted(function)
    np.testing.assert_array_equal(found.value, values)
    assert list(found.reason) == reasons


def test_a_mergeable_function_cannot_change_states_that_others_share(folder):
    n = np.arange(3)
    found = formula(folder, "custom_own:changes").value(Merged(n, n, {"n": n}, n))
    assert list(n) == [0, 1, 2]
    assert found.reason[1] == "ValueError: assignment destination is read-only"
    assert formula(folder, "custom_own:raises").value(Merged(n, n, {"n": n}, n)).reason[0] == "KeyError: 'nothing'"


def test_a_mergeable_function_may_give_values_with_an_interval():
    from sli.mergeable import Values, plain

    def odd(s):
        found = plain(s["n"].astype(float), np.full(3, None, dtype=object))
        low = np.array([-1, 5, -math.inf])
        return Values(found.value / [0, 1, 1], found.reason, low, low + 9, found.bound, low, low)

    found = counted(odd)
    np.testing.assert_array_equal(found.value, [math.nan, 1, 2])
    np.testing.assert_array_equal(found.low, [math.nan, 1, math.nan])
    np.testing.assert_array_equal(found.high, [math.nan, 14, math.nan])
    assert list(found.reason) == ["the value is null", None, None]


def test_a_value_from_a_rounded_histogram_has_no_known_bound():
    flags = np.array([True, False, True])
    rounded = Histograms(np.array([0, 1, 2, 2]), np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 0]), flags)
    found = counted(lambda s: s["h"].totals, h=rounded)
    np.testing.assert_array_equal(found.bound, [0, math.nan, 0])


def test_a_mergeable_function_may_compare_with_a_reference():
    n = np.arange(3)
    reference = Merged(np.array([4, 4, 0]), np.array([2, 2, 0]), {"n": np.array([1.0, 2, math.nan])}, n)
    found = counted(lambda s: s["n"] - s.reference["n"], reference=reference)
    assert list(found.reason) == [None, None, "no reference values"]
    made = from_mergeable_of(lambda s: s["n"] - s.reference["n"])
    pairs = pairs_of(40), pairs_of(30, seed=1)
    assert value_on(made, *pairs) == pytest.approx(pairs[0].label.sum() - pairs[1].label.sum(), rel=1e-12)


def test_every_state_of_a_mergeable_function_is_made_from_plain_rows():
    pairs = pairs_of(400)
    kept = pairs[pairs.usable]
    of = {
        "low": smallest("label", "usable"),
        "high": largest("prediction"),
        "values": histogram("round(label)", "usable"),
        "regions": groups("region", "usable", "weight"),
        "huge": total("CASE WHEN label > 0 THEN 1e300 ELSE 0 END"),
    }
    expected = {
        "low": kept.label.min(),
        "high": pairs.prediction.max(),
        "values": kept.label.round().nunique(),
        "regions": kept.weight[kept.region == "south"].sum(),
        "huge": math.nan,
    }

    def number(found):
        if isinstance(found, Histograms):
            return len(found.keys)
        return found.dense(["south"])[1][0, 0] if isinstance(found, Groups) else found[0]

    for name in of:
        made = from_mergeable_of(partial(lambda s, name: number(s[name]), name=name), **of)
        np.testing.assert_allclose(value_on(made, pairs), expected[name], rtol=1e-12)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_sql_reads_clocks_in_utc_wherever_it_runs(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    pairs = pairs_of(2).assign(predicted_at=pd.to_datetime(["2024-01-01T03:00Z", "2024-01-01T04:00Z"], utc=True))
    assert value_on(from_sql({"hours": "sum(hour(predicted_at))"}, "hours"), pairs) == 7


# What feedback tells: a sum of it is 0 where it tells nothing.
OF_LABELS = [
    ({"hits": "sum(CASE WHEN label THEN 1 ELSE 0 END)"}, "hits / predictions"),
    ({"hits": "count(CASE WHEN labelled AND decision THEN 1 END)"}, "hits"),
    ({"late": "count(CASE WHEN known_at > predicted_at THEN 1 END)"}, "late"),
    ({"slow": 'count(CASE WHEN "delay" > 60 THEN 1 END)'}, "coalesce(slow, 0)"),
    ({"kept": "sum(USABLE::INT)", "n": "count(*)"}, "kept / n"),
]
OF_PREDICTIONS = [
    ({"n": "count(*)"}, "n / 2"),
    ({"high": "sum(CASE WHEN prediction > 0 THEN 1 ELSE 0 END)"}, "high / predictions"),
    ({"named": "count(CASE WHEN query = 'label' THEN 1 END)"}, "named"),
    ({"n": "count(*)"}, "labelled / n"),
]


def window(formula, labelled):
    """A window of four predictions, so many labelled, in which no state found anything."""
    states = {name: np.array([0.0]) for name in formula.states} | {"n": np.array([4.0])}
    return formula.value(Merged(np.array([4]), np.array([labelled]), states, np.zeros(1, int)))


@pytest.mark.parametrize(("states", "value"), OF_LABELS)
def test_what_looks_at_labels_is_null_and_not_0_where_nothing_is_labelled(states, value):
    found = from_sql(states, value)
    assert list(window(found, 0).reason) == ["no labelled predictions"]
    assert math.isnan(window(found, 0).value[0])
    assert window(found, 1).value[0] == 0
    pairs = pairs_of(40).assign(known_at=pd.Timestamp("2024-01-02"), predicted_at=pd.Timestamp("2024-01-01"), delay=1.0)
    none = pairs.assign(label=None, labelled=False, usable=False, known_at=pd.NaT, delay=math.nan)
    assert math.isfinite(value_on(found, pairs))
    assert math.isnan(value_on(found, none))


@pytest.mark.parametrize(("states", "value"), OF_PREDICTIONS)
def test_what_looks_at_predictions_alone_has_a_value_without_labels(states, value):
    found, none = from_sql(states, value), pairs_of(40).assign(labelled=False, usable=False, query="label")
    assert window(found, 0).value[0] in (0, 2)
    assert math.isfinite(value_on(found, none))


def test_a_mergeable_function_of_labels_is_null_where_nothing_is_labelled():
    hits = mergeable(hits=count("usable AND label > 0"))(lambda s: s["hits"] / s.predictions)
    high = mergeable(high=count("prediction > 0"))(lambda s: s["high"] / s.predictions)
    finished = mergeable(hits=count("usable"))(lambda s: proportion(s, s["hits"], s.predictions, (s["hits"] < 0, "")))
    pairs = pairs_of(40)
    none = pairs.assign(label=math.nan, labelled=False, usable=False)
    for of, needs in ((hits, True), (high, False), (finished, True)):
        found = from_mergeable(of, {"python": "m:f"})
        assert math.isfinite(value_on(found, pairs))
        assert math.isnan(value_on(found, none)) == needs


def test_a_comparison_of_labels_needs_them_on_both_sides():
    gap = mergeable(hits=count("usable AND label > 0"))(lambda s: s["hits"] - s.reference["hits"])
    found, pairs = from_mergeable(gap, {"python": "m:f", "against": "previous"}), pairs_of(40)
    none = pairs.assign(label=math.nan, labelled=False, usable=False)
    assert value_on(found, pairs, pairs) == 0
    assert math.isnan(value_on(found, pairs, none))


def examples():
    """Title of the section, the config and the SLI of each."""
    blocks = [
        (title, yaml.safe_load(block))
        for title, text in SECTIONS
        for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    ]
    return [(title, tree, each) for title, tree in blocks for each in tree["slis"]]


@pytest.mark.parametrize(("title", "tree", "entry"), examples(), ids=lambda x: x.get("name") if type(x) is dict else "")
def test_the_examples_of_the_docs_can_be_declared(title, tree, entry):
    entry = {key: value for key, value in entry.items() if key != "objective"}
    if title.endswith("SQL"):
        assert from_sql(entry["states"], entry["value"], ["fare"]).states
    else:
        of = entry.get("of") or y_pred(entry, ROOT / "configs", tree.get("task", "regression"))
        scores = tree.get("predictions", {}).get("scores")
        assert from_python(entry, ROOT / "configs", of, tuple(tree.get("classes", ())), scores).states


@pytest.mark.parametrize("block", [b for _, text in SECTIONS for b in re.findall(r"```python\n(.*?)```", text, re.S)])
def test_the_python_of_the_docs_is_that_of_the_example_module(block):
    assert block.strip() in (ROOT / "configs" / "my_metrics.py").read_text()


def test_the_example_module_gives_values():
    pairs = pairs_of(500).assign(carrier=lambda d: d.region)
    folder = ROOT / "configs"
    assert isinstance(load("my_metrics:log_error", folder), Mergeable)
    for entry in (
        {"python": "my_metrics:f2", "of": "decision"},
        {"python": "my_metrics:worst_mae", "columns": ["region"]},
        {"python": "my_metrics:weighted_bias", "weight": "weight"},
        {"python": "my_metrics:weighted_mae"},
        {"python": "my_metrics:log_error"},
    ):
        assert math.isfinite(value_on(from_python(entry, folder, entry.get("of", "prediction")), pairs))
    growth = from_python({"python": "my_metrics:error_growth", "against": "previous"}, folder, "prediction")
    assert value_on(growth, pairs, pairs) == 1
