"""The catalogue of SLIs: importing it registers every built-in one."""

from __future__ import annotations

from sli.slis import binary, regression, values
from sli.slis.base import CATALOGUE, Entry, Formula, Sli
from sli.slis.states import State

__all__ = ["CATALOGUE", "Entry", "Formula", "Sli", "State", "binary", "regression", "values"]
