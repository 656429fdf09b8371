"""How often a Python function is called for a value and for its interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sli.slis.custom import sampled
from sli.slis.custom.function import UserFunction
from sli.slis.custom.sampled import sampled_values
from sli.slis.formula import Values
from sli.slis.kinds.samples import SAMPLE_ROWS, Samples
from sli.slis.states import Floats, Merged


class Counting:
    """A function of pairs that counts its calls."""

    def __init__(self, function: Callable[[Floats, Floats], float]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, label: Floats, prediction: Floats) -> float:
        self.calls += 1
        return self.function(label, prediction)


def gap(label: Floats, prediction: Floats) -> float:
    return float((prediction - label).mean())


def windows(usable: int, rows: int = 1, level: float = 0.95) -> Merged:
    """Windows of so many usable pairs; all have the same sample."""
    random = np.random.default_rng(1)
    kept = min(usable, SAMPLE_ROWS)
    label, prediction, keys = random.random(kept), random.random(kept), np.arange(kept, dtype=np.int64)
    sample = Samples([label] * rows, [prediction] * rows, [keys] * rows, [{}] * rows)
    counts = np.full(rows, usable)
    return Merged(counts, counts, {"usable": counts, "sample": sample}, counts, level)


def values_and_calls(function: Callable[[Floats, Floats], float], s: Merged) -> tuple[Values, int]:
    counting = Counting(function)
    return sampled_values(UserFunction(function=counting), s), counting.calls


@pytest.mark.parametrize(
    ("usable", "level", "calls"),
    [(0, 0.95, 0), (1, 0.95, 1), (SAMPLE_ROWS, 0.95, 1), (3000, 0.8, 200), (3000, 0.95, 200), (3000, 0.998, 1000)],
)
def test_a_window_takes_one_call_and_beyond_a_sample_what_its_interval_needs_within_a_thousand(
    usable: int, level: float, calls: int
) -> None:
    values, called = values_and_calls(gap, windows(usable, level=level))
    assert called == calls
    assert math.isnan(values.low[0]) == (calls < 2)


def test_without_a_resample_beyond_its_ends_an_interval_is_not_tried() -> None:
    values, calls = values_and_calls(gap, windows(3000, level=0.999))
    assert calls == 1
    assert math.isnan(values.low[0])
    assert not math.isnan(values.value[0])


def test_windows_with_the_same_sample_share_value_and_interval() -> None:
    values, calls = values_and_calls(gap, windows(3000, rows=5))
    assert calls == 200
    assert len({*values.low}) == len({*values.value}) == 1


@pytest.mark.parametrize("together", [1, 7, 199])
def test_an_interval_is_the_same_however_many_resamples_are_drawn_together(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(label: Floats, prediction: Floats) -> float:
        value = gap(label, prediction)
        label[:] = prediction[:] = 9.0  # its own arrays, so no other call sees this
        return value

    usual, _ = values_and_calls(changing, windows(3000))
    monkeypatch.setattr(sampled, "DRAWN", together)
    values, _ = values_and_calls(gap, windows(3000))
    assert (values.low[0], values.high[0]) == (usual.low[0], usual.high[0])


def test_calls_end_once_too_few_resamples_can_have_a_value() -> None:
    given = iter([1.0])
    values, calls = values_and_calls(lambda *_: next(given, math.nan), windows(3000))
    assert calls == 1 + 20
    assert values.value[0] == 1
    assert math.isnan(values.low[0])
