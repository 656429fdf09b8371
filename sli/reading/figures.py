"""Numbers, durations, times and changes as people read them.

Limit: a number gets at least four digits, a duration two units, and as many more as show that two values differ; the
tables hold all digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from sli.calendar.grain import TUMBLING
from sli.slis.formula import Unit

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

DIGITS = 4
ALL_DIGITS = 17
"""Enough to distinguish any two doubles."""
LARGE = 9_999.5
"""Larger numbers are printed without decimals."""
LONGEST_FIRST = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
"""The units of a duration, and their seconds."""


def record(of: DataclassInstance) -> dict[str, object]:
    """A dataclass as plain values: times and dates as ISO 8601, a number that there is none of as None."""
    return {name: plain(value) for name, value in asdict(of).items()}


def plain(value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable):
        return [plain(inner) for inner in value]
    if value != value:
        return None
    if isinstance(value, date):
        return value.isoformat()
    return value.tolist() if isinstance(value, np.generic) else value


class Row(Protocol):
    """A row of `results` or `revisions`, as pandas' `itertuples` gives it: the columns that are printed."""

    sli: str
    grain: str
    window_start: pd.Timestamp
    window_end: pd.Timestamp
    slice: dict[str, str | None]
    value: float
    reason: str | None
    ci_low: float
    ci_high: float
    missing_low: float
    missing_high: float
    error_bound: float
    predictions: int
    labelled: int
    coverage: float
    maturity: str
    objective: str | None
    verdict: str | None
    as_of: pd.Timestamp
    change: str
    cause: str
    old_value: float
    old_verdict: str | None


def rows_of(frame: pd.DataFrame) -> Iterator[Row]:
    """The rows of `results` or `revisions` one by one."""
    # pandas types the fields of its tuples as any scalar.
    return cast("Iterator[Row]", frame.itertuples())


def local(at: pd.Timestamp, timezone: str, grain: str) -> str:
    """A window's time in the time zone: a date for days and at midnight, else date and time."""
    here = at.tz_convert(timezone)
    return here.strftime("%Y-%m-%d" if grain == "day" or (here.hour == 0 and here.minute == 0) else "%Y-%m-%d %H:%M")


def window_name(row: Row, timezone: str) -> str:
    """The start of an hour, day, week or month; `until` and the end of any other window."""
    tumbling = row.grain in TUMBLING
    return ("" if tumbling else "until ") + local(row.window_start if tumbling else row.window_end, timezone, row.grain)


def slice_name(slice: dict[str, str | None]) -> str:
    """`JFK`, or `AA, JFK`, or `all`."""
    return ", ".join("null" if value is None else value for value in slice.values()) or "all"


def full_slice_name(slice: Mapping[str, str | None]) -> str:
    """`origin=JFK`, or `carrier=AA, origin=null`."""
    return ", ".join(f"{column}={'null' if value is None else value}" for column, value in slice.items())


def counted(count: int, name: str) -> str:
    """`1 hour`, `2,000 hours`."""
    return f"{count:,} {name}{'s' * (count != 1)}"


def number(value: float | None, reason: str | None = None, unit: Unit = "") -> str:
    """A value to four significant digits, seconds as a duration; or `-` and the reason why there is none.

    >>> number(0.43478), number(21_792.0, unit="s"), number(None, "no labels")
    ('0.4348', '6 h 3 min', '- (no labels)')
    """
    if value is None or np.isnan(value):
        return f"- ({reason})" if reason else "-"
    if unit == "s":
        return _duration(value, 2)
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.{DIGITS}g}"


def difference(by: float, value: float, unit: Unit = "") -> str:
    """How far a value is from another one, to the last decimal that `value` is written with, unless nothing is left.

    >>> difference(0.03058, 0.6464), difference(-0.0008959, 0.4341), difference(-360, 21600, "s")
    ('0.0306', '-0.0009', '-6 min')
    """
    digits = DIGITS - 1 - int(np.floor(np.log10(abs(value)))) if value and np.isfinite(value) else DIGITS
    short = by if unit or digits <= 0 or np.isnan(by) else round(by, digits)
    return number(short or by, None, unit)


def signed(by: float, value: float, unit: Unit = "") -> str:
    """A difference with its sign.

    >>> signed(0.03058, 0.6464), signed(-0.0008959, 0.4341)
    ('+0.0306', '-0.0009')
    """
    return f"{'+' if by > 0 else ''}{difference(by, value, unit)}"


def _duration(seconds: float, parts: int) -> str:
    """Seconds in the largest unit and the smaller ones, rounded to so many units; `45.3 s` below a minute."""
    size = abs(seconds)
    if size < 59.995 or not np.isfinite(size):
        return f"{seconds:.{DIGITS}g} s"
    sign, units = "-" * (seconds < 0), [*LONGEST_FIRST]
    for place, (_, length) in enumerate(units):
        least = units[min(place + parts, len(units)) - 1][1]
        left = round(size / least) * least
        if left >= length:
            break
    texts = []
    for name, length in units[place : place + parts]:
        count, left = divmod(left, length)
        texts += [f"{count:,} {name}"] * bool(count)
    return sign + " ".join(texts)


def interval_text(low: float, high: float, unit: Unit = "") -> str:
    """Both ends of an interval: `0.409 .. 0.46`; empty if there is none."""
    if np.isnan(low) and np.isnan(high):
        return ""
    return f"{number(low, None, unit)} .. {number(high, None, unit)}"


def numbers(old: float | None, new: float | None, reason: str | None = None, unit: Unit = "") -> tuple[str, str]:
    """Two values with enough digits to see that they differ: `0.74830`, `0.74834`."""
    texts = number(old, None, unit), number(new, reason, unit)
    if texts[0] != texts[1] or old is None or new is None or old == new or not np.isfinite([old, new]).all():
        return texts
    if unit == "s":
        texts = _duration(old, len(LONGEST_FIRST)), _duration(new, len(LONGEST_FIRST))
        if texts[0] != texts[1]:
            return texts
    large, after = abs(new) >= LARGE, " s" * (unit == "s")
    for digits in range(1 if large else DIGITS + 1, ALL_DIGITS + 1):
        form = f",.{digits}f" if large else f"#.{digits}g"
        texts = format(old, form) + after, format(new, form) + after
        if texts[0] != texts[1]:
            break
    return texts


def largest_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Changed results, ordered by |new - old| / max(|new|, |old|), the largest first.

    Equal shares are ordered by |new - old|, then by window, the newest first. Results that gained or lost their value
    follow, then those whose value did not change.
    """
    old, new = (rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("old_value", "value"))
    # A removed row still has the value it had.
    new = np.where(rows["change"] == "removed", np.nan, new)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(new - old)
        share = change / np.maximum(np.abs(old), np.abs(new))
    one_missing = np.isnan(old) != np.isnan(new)
    same = ((old == new) | (np.isnan(old) & np.isnan(new))) & ~one_missing
    group = np.where(same, 2, np.where(one_missing, 1, 0))
    ranked = rows.assign(_group=group, _share=-np.nan_to_num(share), _change=-np.nan_to_num(change))
    ranked = ranked.sort_values(
        ["_group", "_share", "_change", "window_end"], ascending=[True, True, True, False], kind="stable"
    )
    return ranked.drop(columns=["_group", "_share", "_change"])


def kept_value(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which changed results kept their value: only their interval, coverage, verdict or maturity changed."""
    return (rows.value == rows.old_value) | (rows.value.isna() & rows.old_value.isna())


def change_cells(row: Row, unit: Unit, timezone: str) -> dict[str, str]:
    """A changed result as short texts: window, slice, SLI, old and new value, cause."""
    removed = row.change == "removed"
    old, new = numbers(row.old_value, None if removed else row.value, row.reason, unit)
    return {
        "window": f"{row.grain} {window_name(row, timezone)}",
        "slice": slice_name(dict(row.slice)),
        "SLI": row.sli,
        "old": old,
        "new": "removed" if removed else new,
        "cause": row.cause,
    }


def change_text(row: Row, unit: Unit = "", same: str = "as before") -> str:
    """`0.74830 -> 0.74834`, `0.75 -> removed` or `0.75, as before`."""
    if row.change == "removed":
        return f"{number(row.old_value, None, unit)} -> removed"
    if row.value == row.old_value:
        return f"{number(row.value, row.reason, unit)}, {same}"
    return " -> ".join(numbers(row.old_value, row.value, row.reason, unit))
