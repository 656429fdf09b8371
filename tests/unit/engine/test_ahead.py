"""Items that are computed while the ones before them are used."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sli.engine.ahead import computed_ahead


def test_the_next_item_is_computed_while_one_is_used_and_no_further_one() -> None:
    computed = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(computed):
            event.set()
            yield number

    used = []
    for number in computed_ahead(items()):
        assert all(event.wait(5) for event in computed[: number + 2])
        assert not any(event.is_set() for event in computed[number + 2 :])
        used.append(number)
    assert used == [0, 1, 2, 3]


def test_an_error_of_an_item_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    ahead = computed_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="second"):
        next(ahead)


def test_there_may_be_no_item() -> None:
    assert list(computed_ahead([])) == []
