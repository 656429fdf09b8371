"""Slices ranked by how much worse than the whole they surely are, by the interval of that difference.

Limit: if no slice is really worse, about 1 in 40 still appears worse by chance (with 95 % intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, check_known
from sli.judging.since_when import since_when
from sli.reading.publication import opened
from sli.reading.query import query
from sli.slis import Sli
from sli.slis.formula import Values, plain
from sli.slis.maths.differences import of_sharing
from sli.slis.terms import rests_on_labels

SUPPORT = 30
"""Labelled predictions a slice needs by default."""
LOOKED_AT = 10
"""For how many slices `compare_slices` looks since when they are worse: each takes the tiles of a year."""


def compare_slices(
    config: str | Path | Config,
    sli: str | None = None,
    *,
    start: When = None,
    end: When = None,
    support: int = SUPPORT,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """All slices with at least `support` labelled predictions from `start` to `end`, the worst first.

    Columns: sli, slice_by, slice, value, ci_low, ci_high, predictions, labelled, coverage; `whole`: the value over all
    predictions; `behind`: how much worse than `whole` the slice is (negative: better); `surely`: how much worse at
    least, by the interval of the difference between the slice and the whole that contains it (0: maybe not worse at
    all; null: no interval); `since`: the first day from which the slice is worse than it was before, as a date;
    `worsened`: whether there is such a day (null: it cannot be said, or was not asked, as after the first 10 slices).
    Values are in the unit of the SLI. By default `sli` is the first SLI whose better direction is known, from its
    objective or because it is built in. Raises SliError.

    >>> import sli
    >>> slices = sli.compare_slices(config, "accuracy", support=1)
    >>> bool((slices.behind == slices.whole - slices.value).all())
    True
    """
    config = load_config(config, settings)
    ranked = ranked_slices(config, sli, start=start, end=end, support=support)
    worst = ranked.head(LOOKED_AT)
    told = [
        since_when(config, name, slice=slice, end=end) for name, slice in zip(worst.sli, worst["slice"], strict=True)
    ]
    rest = [None] * (len(ranked) - len(told))
    since = [*(one.first_day for one in told), *rest]
    worsened = [*(None if one.baseline is None else one.first_day is not None for one in told), *rest]
    columns = {"since": since, "worsened": worsened}
    return ranked.assign(**{name: pd.Series(values, ranked.index, dtype=object) for name, values in columns.items()})


def ranked_slices(
    config: Config, sli: str | None, *, start: When = None, end: When = None, support: int = SUPPORT
) -> pd.DataFrame:
    """What `compare_slices` returns, without `since` and `worsened`. Raises SliError."""
    published = opened(config).published
    compared = _compared(config.declared, sli)
    whole = query(config, compared.name, start=start, end=end)
    if whole.empty or np.isnan(whole.value.iloc[0]):
        reason = whole.reason.iloc[0] if len(whole) else "no predictions"
        raise ConfigError(f"{compared.name} has no value in this time", where="start, end", found=str(reason))
    sets = [columns for columns in published.slice_sets if columns]
    if not sets:
        raise ConfigError(
            "the config has no slices to compare",
            where="slice_by",
            expected="columns besides [], for example [[], [region]]",
            todo="list them and run once",
        )
    rows = pd.concat([query(config, compared.name, start=start, end=end, slice_by=columns) for columns in sets])
    rows = rows[(rows.labelled >= support) & rows.value.notna()]
    order = _behind(rows, whole, compared).assign(text=rows["slice"].map(str))
    order = order.sort_values(
        ["surely", "behind", "text"], ascending=[False, False, True], na_position="last", kind="stable"
    )
    names = ["sli", "slice_by", "slice", "value", "ci_low", "ci_high", "predictions", "labelled", "coverage"]
    return order[[*names, "whole", "behind", "surely"]].reset_index(drop=True)


def _behind(rows: pd.DataFrame, whole: pd.DataFrame, sli: Sli) -> pd.DataFrame:
    """The rows of slices with the columns `whole`, `behind` and `surely`; `whole` has one row."""
    sign, counted = (
        1 if sli.direction == "higher" else -1,
        "labelled" if rests_on_labels(sli.formula) else "predictions",
    )
    all_of_them = whole.iloc[np.zeros(len(rows), dtype=int)]
    numbers = rows[counted].to_numpy(dtype=np.float64)
    difference = of_sharing(
        _values(all_of_them), _values(rows), numbers, all_of_them[counted].to_numpy(dtype=np.float64), numbers
    )
    best = difference.high if sign > 0 else difference.low
    return rows.assign(
        whole=float(whole.value.iloc[0]),
        behind=sign * (float(whole.value.iloc[0]) - rows.value),
        surely=np.where(np.isnan(best), np.nan, np.maximum(-sign * best, 0.0)),
    )


def _values(rows: pd.DataFrame) -> Values:
    value, low, high = rows[["value", "ci_low", "ci_high"]].to_numpy(dtype=np.float64).T
    return plain(value, np.full(len(value), None, dtype=object)).within(low, high)


def _compared(slis: Sequence[Sli], name: str | None) -> Sli:
    """The SLI of that name, or the first whose better direction is known. Raises ConfigError."""
    if name is None:
        for sli in slis:
            if sli.direction is not None:
                return sli
        raise ConfigError(
            "no SLI of the config says which direction is better", where="--sli", todo="give one an objective"
        )
    by_name = {sli.name: sli for sli in slis}
    check_known(f"there is no SLI '{name}'", name, by_name, where="--sli")
    if by_name[name].direction is None:
        todo = "give it an objective, for example '>= 0.4'"
        raise ConfigError(f"{name} does not say which direction is better", where="--sli", todo=todo)
    return by_name[name]
