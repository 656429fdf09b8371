"""Which slices lie furthest on the bad side of the whole, with enough labels to say so.

A slice is ranked by how far it lies there at least: from the whole to the near end of its confidence interval. Limit:
of many slices compared, one in forty lies that far by chance at the usual level, and a slice shares its predictions
with the whole.
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
    """All slices of at least `support` labelled predictions over one window, the worst first.

    Columns: sli, slice_by, slice, value, ci_low, ci_high, predictions, labelled, coverage, whole (the value over all),
    behind (how far on the bad side of it, negative on the good one) and surely (the same from the near end of the
    interval, at least 0; null without an interval). `sli` defaults to the first that has a better direction: a built-in
    one's, or its objective's. Raises SliError.
    """
    config = load_config(config, settings)
    published = Store(config.store, config.storage).published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    chosen = _chosen(config, sli)
    sign = _direction(chosen)
    whole = query(config, chosen.name, start=start, end=end)
    if whole.empty or np.isnan(whole.value.iloc[0]):
        reason = whole.reason.iloc[0] if len(whole) else "no predictions"
        raise ConfigError(f"{chosen.name} has no value there", where="start, end", found=str(reason))
    sets = [each for each in published.slice_sets if each]
    if not sets:
        raise ConfigError("the config has no slices", where="slice_by", todo="list some, such as [[], [region]]")
    rows = pd.concat([query(config, chosen.name, start=start, end=end, slice_by=each) for each in sets])
    rows = rows[(rows.labelled >= support) & rows.value.notna()]
    value = float(whole.value.iloc[0])
    near = rows.ci_high if sign > 0 else rows.ci_low
    rows = rows.assign(whole=value, behind=sign * (value - rows.value), surely=(sign * (value - near)).clip(lower=0.0))
    order = rows.assign(text=rows["slice"].map(str)).sort_values(
        ["surely", "behind", "text"], ascending=[False, False, True], na_position="last", kind="stable"
    )
    names = ["sli", "slice_by", "slice", "value", "ci_low", "ci_high", "predictions", "labelled", "coverage"]
    return order[[*names, "whole", "behind", "surely"]].reset_index(drop=True)


def _chosen(config: Config, name: str | None) -> Sli:
    if name is None:
        for each in config.declared:
            if each.better or each.objective:
                return each
        raise ConfigError(
            "no SLI of the config says which direction is better", where="--sli", todo="give one an objective"
        )
    for each in config.declared:
        if each.name == name:
            return each
    names = [each.name for each in config.declared]
    raise ConfigError(
        f"there is no SLI '{name}'", where="--sli", expected=f"one of {', '.join(names)}", todo=nearest(name, names)
    )


def _direction(sli: Sli) -> int:
    """1 where higher is better, -1 where lower is. Raises ConfigError."""
    if sli.objective is not None:
        return 1 if sli.objective.parts[0].startswith(">") else -1
    if sli.better is None:
        raise ConfigError(
            f"{sli.name} does not say which direction is better",
            where="--sli",
            todo="give it an objective, such as '>= 0.4'",
        )
    return 1 if sli.better == "higher" else -1
