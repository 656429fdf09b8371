"""Work one step ahead: the next item is computed in a thread while the one before it is used.

Arrow, DuckDB and much of NumPy let another thread work, so two cores share what one after the other would do alone.
Limit: two items are in memory together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def computed_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items in their order. Raises what computing the next one raises, once it is asked for."""
    iterator = iter(items)

    def following() -> list[T]:
        """The next item, if there is one."""
        return list(itertools.islice(iterator, 1))

    with ThreadPoolExecutor(1) as pool:
        context = copy_context()
        future: Future[list[T]] = pool.submit(context.run, following)
        while found := future.result():
            future = pool.submit(context.run, following)
            yield found[0]
