"""The catalogue of SLIs: importing it registers every built-in one."""

from __future__ import annotations

from sli.slis.catalogue import (
    binary,
    drift,
    multiclass,
    one_vs_rest,
    operating_points,
    operation,
    ranking,
    regression,
    values,
)
from sli.slis.formula import CATALOGUE, TASKS, Entry, Formula, Reference, Sli, entries
from sli.slis.states import State

__all__ = [
    "CATALOGUE",
    "TASKS",
    "Entry",
    "Formula",
    "Reference",
    "Sli",
    "State",
    "binary",
    "drift",
    "entries",
    "multiclass",
    "one_vs_rest",
    "operating_points",
    "operation",
    "ranking",
    "regression",
    "values",
]
