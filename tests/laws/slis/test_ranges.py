"""Laws of what is possible: every SLI declares its range; value, interval and worst case lie in it, in order."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laws.slis.test_merging import config, merged, numbered, tiled, values_of
from worlds import pairs_of

from sli.slis import TASKS, entries
from sli.slis.formula import UNLIMITED
from sli.slis.states import Merged

LIMITLESS = {
    *("mean", "min", "max", "quantile", "sum", "bias", "error_quantile", "mean_difference"),
    "feedback_delay",  # `feedback.early` lets a label come before its prediction
}
"""These alone may take any value."""


def windows_of(task):
    """Windows of one to four pairs, and of the extremes: all scores and labels at an end."""
    pairs = pairs_of(task)
    parts, tiles = [pairs, pairs[-300:]], [np.arange(len(pairs)) // 4, np.arange(300) // 2]
    some, ends = pairs[-100:], [(of.min(), of.max()) for of in (pairs.label.dropna(), pairs.prediction.dropna())]
    for label, prediction in itertools.product(*ends):
        parts.append(some.assign(label=some.label.mask(some.label.notna(), label), prediction=prediction))
        tiles.append(np.arange(100) // 3)
    first = np.cumsum([0, *(each.max() + 1 for each in tiles)])
    return pd.concat(parts), np.concatenate([each + at for each, at in zip(tiles, first[:-1], strict=True)]), first[-1]


@pytest.mark.parametrize("task", TASKS)
def test_values_intervals_and_worst_cases_lie_within_the_range_of_the_sli(task, tmp_path):
    chosen, (pairs, tiles, number) = config(task, tmp_path), windows_of(task)
    windows = np.arange(number)
    found, _ = merged(chosen, tiled(chosen, numbered(pairs, task), tiles), windows, windows + 1)
    values = values_of(chosen, found, found.take(np.arange(len(found.predictions)) - 1))
    for each in chosen.declared:
        value, (least, most) = values[each.name], each.formula.range
        for of in (value.value, value.low, value.high, value.missing_low, value.missing_high):
            assert not ((of < least) | (of > most)).any(), each.name
        for low, high in ((value.low, value.value), (value.value, value.high), (value.missing_low, value.missing_high)):
            assert not (low > high).any(), each.name


@pytest.mark.parametrize("task", TASKS)
def test_an_sli_declares_its_range_unless_any_value_is_possible(task, tmp_path):
    without = {each.declaration["sli"] for each in config(task, tmp_path).declared if each.formula.range == UNLIMITED}
    assert without <= LIMITLESS


def test_an_sli_made_from_another_has_its_own_range_and_not_both():
    made = entries("binary")["cost"].make(false_negative=5)
    windows = np.array([1])
    states = {name: windows * (name == "fn") for name in made.states}
    for formula, value in ((made, 5), (replace(made, range=(0.0, 1.0)), 1), (replace(made, range=UNLIMITED), 5)):
        assert formula.value(Merged(windows, windows, states, windows)).value[0] == value
