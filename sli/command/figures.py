"""Numbers, times and changes as people read them.

Limit: so many digits as are needed to tell two numbers apart, at least four; the tables of the store hold all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sli.calendar.grain import TUMBLING
from sli.config.model import Config

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4
ALL_DIGITS = 17
"""Of a double: no two are alike in all of these."""
LARGE = 9_999.5
"""From here on numbers are told as whole ones."""


def local(at: pd.Timestamp, config: Config, grain: str) -> str:
    """A window's time in the config's zone: a date for days, with the hour otherwise."""
    here = at.tz_convert(config.timezone)
    return here.strftime("%Y-%m-%d" if grain == "day" or (here.hour == 0 and here.minute == 0) else "%Y-%m-%d %H:%M")


def window_name(row: Any, config: Config) -> str:
    """A row's window as people say it: the day, the hour, or until when."""
    tumbling = row.grain in TUMBLING
    return ("" if tumbling else "until ") + local(row.window_start if tumbling else row.window_end, config, row.grain)


def number(value: float | None, reason: str | None = None) -> str:
    """A value to four significant digits, or why there is none."""
    if value is None or np.isnan(value):
        return f"- ({reason})" if reason else "-"
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.{DIGITS}g}"


def numbers(old: float | None, new: float | None, reason: str | None = None) -> tuple[str, str]:
    """Two values, with as many digits as it takes to see that they differ: `0.74830`, `0.74834`."""
    texts = number(old), number(new, reason)
    if texts[0] != texts[1] or old is None or new is None or old == new or not np.isfinite([old, new]).all():
        return texts
    large = abs(new) >= LARGE
    for digits in range(1 if large else DIGITS + 1, ALL_DIGITS + 1):
        form = f",.{digits}f" if large else f"#.{digits}g"
        texts = format(old, form), format(new, form)
        if texts[0] != texts[1]:
            break
    return texts


def largest_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Changed results, those first whose value changed most: by |new - old| as a share of the larger of both.

    Equal shares by |new - old|, then the newest window. What got or lost its value comes after all that have both;
    what kept its value comes last.
    """
    old, new = (rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("old_value", "value"))
    # A removed row still holds the value it had.
    new = np.where(rows["change"] == "removed", np.nan, new)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(new - old)
        share = change / np.maximum(np.abs(old), np.abs(new))
    one = np.isnan(old) != np.isnan(new)
    same = ((old == new) | (np.isnan(old) & np.isnan(new))) & ~one
    place = np.where(same, 2, np.where(one, 1, 0))
    ranked = rows.assign(_place=place, _share=-np.nan_to_num(share), _change=-np.nan_to_num(change))
    ranked = ranked.sort_values(
        ["_place", "_share", "_change", "window_end"], ascending=[True, True, True, False], kind="stable"
    )
    return ranked.drop(columns=["_place", "_share", "_change"])


def kept_value(rows: pd.DataFrame) -> pd.Series:
    """Which changed results have the value they had: what changed is their interval, coverage or maturity."""
    return (rows.value == rows.old_value) | (rows.value.isna() & rows.old_value.isna())


def change_text(row: Any) -> str:
    """`0.74830 -> 0.74834`, or what else became of a value."""
    if row.change == "removed":
        return f"{number(row.old_value)} -> removed"
    if row.value == row.old_value:
        return f"{number(row.value, row.reason)}, as before"
    return " -> ".join(numbers(row.old_value, row.value, row.reason))
