"""Checks of the parameters of a config entry that several SLIs have.

Limit: a check knows one parameter; what two parameters mean together is checked by their SLI.
"""

from __future__ import annotations

import math

from sli.errors import ConfigError


def number_in(name: str, given: object, low: float, high: float) -> float:
    """A parameter that must be a number from `low` to `high`, which are finite. Raises ConfigError.

    >>> number_in("q", 0.9, 0, 1)
    0.9
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not low <= given <= high:
        raise ConfigError(f"{name} is out of range", expected=f"a number from {low:g} to {high:g}", found=repr(given))
    return float(given)


def whole_number_in(name: str, given: object, low: int, high: float = math.inf) -> int:
    """A parameter that must be a whole number from `low` to `high`. Raises ConfigError.

    >>> whole_number_in("k", 0, 1)
    Traceback (most recent call last):
    sli.errors.ConfigError: k is out of range
      expected: a whole number, 1 or more
      found: 0
    """
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        limits = f", {low} or more" if math.isinf(high) else f" from {low} to {high:g}"
        raise ConfigError(f"{name} is out of range", expected=f"a whole number{limits}", found=repr(given))
    return given
