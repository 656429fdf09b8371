"""Slices ranked by how much worse than the whole they surely are, given their confidence intervals.

Limit: if no slice is really worse, about 1 in 40 still appears worse by chance (with 95 % intervals); and the whole
contains each slice it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.publishing.store import Store
from sli.reading.query import query
from sli.slis import Sli

SUPPORT = 30
"""Labelled predictions a slice needs by default."""


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
    predictions; `behind`: how much worse than `whole` the slice is (negative: better); `surely`: how much worse the
    better end of its interval is (0: maybe not worse at all; null: no interval). Values are in the unit of the SLI. By
    default `sli` is the first SLI whose better direction is known, from its objective or because it is built in.
    Raises SliError.

    >>> import sli
    >>> slices = sli.compare_slices(config, "accuracy", support=1)
    >>> bool((slices.behind == slices.whole - slices.value).all())
    True
    """
    config = load_config(config, settings)
    published = Store(config.store, config.storage).published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    compared = _compared(config.declared, sli)
    sign = _direction(compared)
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
    value = float(whole.value.iloc[0])
    best = rows.ci_high if sign > 0 else rows.ci_low
    rows = rows.assign(whole=value, behind=sign * (value - rows.value), surely=(sign * (value - best)).clip(lower=0.0))
    order = rows.assign(text=rows["slice"].map(str)).sort_values(
        ["surely", "behind", "text"], ascending=[False, False, True], na_position="last", kind="stable"
    )
    names = ["sli", "slice_by", "slice", "value", "ci_low", "ci_high", "predictions", "labelled", "coverage"]
    return order[[*names, "whole", "behind", "surely"]].reset_index(drop=True)


def _compared(slis: Sequence[Sli], name: str | None) -> Sli:
    """The SLI of that name, or the first whose better direction is known. Raises ConfigError."""
    if name is None:
        for sli in slis:
            if sli.better or sli.objective:
                return sli
        raise ConfigError(
            "no SLI of the config says which direction is better", where="--sli", todo="give one an objective"
        )
    for sli in slis:
        if sli.name == name:
            return sli
    names = [sli.name for sli in slis]
    raise ConfigError(
        f"there is no SLI '{name}'", where="--sli", expected=f"one of {', '.join(names)}", todo=nearest(name, names)
    )


def _direction(sli: Sli) -> int:
    """1 if higher is better, -1 if lower is. Raises ConfigError."""
    if sli.objective is not None:
        return 1 if sli.objective.parts[0].startswith(">") else -1
    if sli.better is None:
        raise ConfigError(
            f"{sli.name} does not say which direction is better",
            where="--sli",
            todo="give it an objective, for example '>= 0.4'",
        )
    return 1 if sli.better == "higher" else -1
