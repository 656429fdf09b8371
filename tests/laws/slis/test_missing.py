"""Laws of labels still missing: the worst-case bounds are the least and the greatest value over all labellings of them.

Every labelling is a window of its own, put through the kernel and the roll-up, for all SLIs at once.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from laws.slis.test_merging import config, merged, numbered, tiled, values_of
from worlds import CLASSES

from sli.mergeable import Values, because, count, mergeable, plain
from sli.slis.custom.mergeable import from_mergeable
from sli.slis.states import Merged

MOST_MISSING = {"binary": 6, "multiclass": 4}
BOUNDED = {
    "binary": {
        *("accuracy", "precision", "recall", "specificity", "false_positive_rate", "false_negative_rate"),
        *("positive_rate", "f1", "balanced_accuracy", "mcc", "cost", "log_loss", "brier", "ece", "calibration"),
        *("true_positives", "false_positives", "true_negatives", "false_negatives"),
        *("negative_predictive_value", "false_discovery_rate", "false_omission_rate"),
    },
    "multiclass": {"accuracy", "precision", "recall", "specificity", "f1", "confusion", "top_k_accuracy"},
}
LABELS = {"binary": (0.0, 1.0), "multiclass": CLASSES}
SCORES = (0.0, 0.1, 0.25, 0.3, 0.5, 0.8, 1.0)


def small_windows(task):
    """Every window of few pairs of a few kinds, each kind labelled in each way or not at all."""
    predictions = (0.2, 0.8) if task == "binary" else CLASSES
    kinds = [*itertools.product(predictions, (*LABELS[task], None)), (None, None)]
    for size in (1, 2, 3) if task == "multiclass" else (1, 2, 3, 4):
        for window in itertools.combinations_with_replacement(kinds, size):
            yield list(window)


def random_windows(task, number=40):
    random = np.random.default_rng(3)
    predictions = (*(SCORES if task == "binary" else CLASSES), None)
    for _ in range(number):
        chosen = random.integers(0, len(predictions), random.integers(3, 12))
        labels = random.choice([*LABELS[task], None], len(chosen), p=shares(random, len(LABELS[task])))
        window = [(predictions[i], label) for i, label in zip(chosen, labels, strict=True)]
        if sum(map(is_open, window)) <= MOST_MISSING[task]:
            yield window


def shares(random, classes):
    return random.dirichlet([*[0.7] * classes, 1.0])


def is_open(pair):
    """Whether a label is missing that would make the pair usable."""
    return pair[0] is not None and pair[1] is None


def labellings(task, window):
    """The window with its missing labels filled in, in every way."""
    places = [i for i, pair in enumerate(window) if is_open(pair)]
    for labels in itertools.product(LABELS[task], repeat=len(places)):
        filled = dict(zip(places, labels, strict=True))
        yield [(prediction, filled.get(i, label)) for i, (prediction, label) in enumerate(window)]


def pairs_of(windows, task):
    """The pairs of windows as a frame, with the number of each one's window."""
    rows = [(i, j, *pair) for i, window in enumerate(windows) for j, pair in enumerate(window)]
    made = pd.DataFrame(rows, columns=["window", "place", "prediction", "label"])
    made = made.assign(region="north", fare=1.0, kind="card", query="", labelled=made.label.notna())
    made["predicted_at"] = pd.Timestamp("2024-03-10", tz="UTC")
    made["known_at"] = made.predicted_at
    if task == "binary":
        return made.astype({"prediction": float, "label": float})
    # By place, so that a labelling changes the label alone. Where a score is null the pair has no part in some SLIs.
    scores = np.random.default_rng(5).choice(
        [0.0, 0.2, 0.2, 0.5, 1.0, np.nan], (12, 3), p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.1]
    )
    return made.assign(**{f"p_{name}": scores[made.place, i] for i, name in enumerate(CLASSES)})


def evaluated(task, folder, windows, slis=None):
    """The values of SLIs by name, a row a window."""
    chosen, pairs = config(task, folder, slis), pairs_of(windows, task)
    numbers = np.arange(len(windows))
    found, _ = merged(chosen, tiled(chosen, numbered(pairs, task), pairs.window.to_numpy()), numbers, numbers + 1)
    return chosen, values_of(chosen, found, found)


@pytest.mark.parametrize("task", BOUNDED)
def test_worst_case_bounds_are_the_extremes_over_all_labellings(task, tmp_path):
    windows = [*small_windows(task), *random_windows(task)]
    filled = [list(labellings(task, window)) for window in windows]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in filled])])[:-1]
    chosen, values = evaluated(task, tmp_path, [*windows, *itertools.chain(*filled)])
    complete = np.array([not any(map(is_open, window)) for window in windows])
    bounded = set()
    for each in chosen.declared:
        found, n = values[each.name], len(windows)
        low, high, value = found.missing_low[:n], found.missing_high[:n], found.value[:n]
        if np.isnan(low).all() and np.isnan(high).all():
            continue
        bounded.add(each.declaration["sli"])
        over = found.value[n:]
        assert low == pytest.approx(np.fmin.reduceat(over, starts), abs=1e-12, nan_ok=True), each.name
        assert high == pytest.approx(np.fmax.reduceat(over, starts), abs=1e-12, nan_ok=True), each.name
        for end in (low, high):
            assert np.array_equal(end[complete], value[complete], equal_nan=True), each.name
        beyond = ~np.isnan(low) & np.isnan(value)
        assert beyond.any(), f"{each.name}: some labels would define it"
    assert bounded >= BOUNDED[task]


def test_the_present_value_need_not_lie_within_its_worst_case(tmp_path):
    slis = [{"sli": "brier"}, {"sli": "log_loss"}]
    _, values = evaluated(
        "binary", tmp_path, [[(0.0, 0.0), (0.4, None)], [(0.4, None)], [(0.4, 1.0), (None, None)]], slis
    )
    brier, loss = values["brier"], values["log_loss"]
    assert brier.value[0] == 0
    assert brier.missing_low == pytest.approx([0.08, 0.16, 0.36])
    assert brier.missing_high == pytest.approx([0.18, 0.36, 0.36])
    assert loss.missing_low[0] == pytest.approx(-np.log(0.6) / 2)
    assert brier.reason[1] == "no labelled predictions"


def test_an_authors_bounds_stand_where_the_value_is_undefined():
    @mergeable(right=count("usable AND label"), n=count("usable"))
    def share(s) -> Values:
        with np.errstate(invalid="ignore"):
            found = plain(s["right"] / s["n"], because((s["n"] == 0, "nothing")))
        return found.missing(np.array([0.25, 0.25]), np.array([0.75, 0.75]))

    states = {"right": np.array([1, 0]), "n": np.array([1, 0])}
    found = from_mergeable(share, {"python": "own:share"}).value(
        Merged(np.array([2, 1]), np.array([1, 0]), states, np.zeros(2, dtype=np.int64))
    )
    assert list(found.reason) == [None, "nothing"]
    assert list(found.missing_low) == [0.25, 0.25]
    assert list(found.missing_high) == [0.75, 0.75]
