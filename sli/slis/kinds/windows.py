"""Values of Python functions on all pairs of an hour or a day. They do not merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sli.slis.custom.function import value_or_reason, without_warnings
from sli.slis.kinds.samples import Arguments, arguments_sql
from sli.slis.kinds.terms import Drawn, Reader, Term
from sli.slis.states import Floats, Integers, MergedState, Objects, State, take


@dataclass(frozen=True)
class WindowState(State):
    """The value of a Python function on label, prediction and `columns` of all pairs of a window where `where` holds.

    `call` is the dotted name of the function with its arguments, as JSON; `source` is a hash of its code.
    """

    kind = "window"
    merges = False
    for_function = True

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return (cls(of="prediction", call="{}"),)

    @property
    def type(self) -> pa.DataType:
        return pa.struct([("value", pa.float64()), ("reason", pa.string())])

    @property
    def term_sql(self) -> dict[str, str]:
        return arguments_sql(self)

    def term(self, reader: Reader) -> Term:
        function = reader.functions[self.call]
        arguments = Arguments.of(self, reader)

        def merged(drawn: Drawn) -> MergedState:
            values, reasons = np.full(drawn.shape[0], np.nan), np.full(drawn.shape[0], None, dtype=object)
            with without_warnings():
                for i, pairs in enumerate(arguments.drawn(drawn)):
                    if len(pairs):
                        values[i], reasons[i] = value_or_reason(function, *arguments.at(pairs))
            return WindowValues(values, reasons)

        return merged


@dataclass(frozen=True)
class WindowValues:
    """For each of n rows the value of a Python function, or NaN and the reason; neither where it was not called."""

    value: Floats
    reason: Objects

    def take(self, rows: Integers) -> WindowValues:
        """These rows in this order; -1 is an empty row."""
        return WindowValues(take(self.value, rows), take(self.reason, rows))

    def between(self, first: int, last: int) -> WindowValues:
        """The rows from `first` up to, but not including, `last`."""
        return WindowValues(self.value[first:last], self.reason[first:last])
