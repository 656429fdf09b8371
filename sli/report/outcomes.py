"""When labels arrive, what the model predicts and how well it is calibrated, over the whole, as the page's data.

Limit: at most `BINS` bins of predictions; the rarer ones are one bin.
"""

from __future__ import annotations

import pandas as pd

from sli.calendar.duration import DAY
from sli.config.model import Config
from sli.errors import ConfigError
from sli.planning.published import Published
from sli.reading.outcomes import calibration, label_arrival, prediction_shares

BINS = 40
REST = "(other)"
PERIODS = (("day", 45 * DAY), ("week", 400 * DAY))
"""How long a time may be to be shown by these periods; a longer one by months."""


def outcomes_of(config: Config, published: Published) -> dict[str, object] | ConfigError:
    """`arrival`, `distribution` and `calibration`, each None where there is nothing to show; or why there are none."""
    length = published.newest - config.since_instant
    period = next((name for name, longest in PERIODS if length <= longest), "month")
    try:
        arrival = label_arrival(config)
        shares = prediction_shares(config, period)
        calibrated = calibration(config) if config.task == "binary" else pd.DataFrame()
    except ConfigError as error:
        return error
    return {
        "arrival": None if arrival.empty else _arrival(arrival),
        "distribution": None if shares.empty else _distribution(shares, period),
        "calibration": None if calibrated.empty else _calibration(calibrated),
    }


def _arrival(rows: pd.DataFrame) -> dict[str, object]:
    return {"age": rows.age.tolist(), "share": rows.share.tolist(), "pairs": int(rows.predictions.iloc[0])}


def _distribution(rows: pd.DataFrame, period: str) -> dict[str, object]:
    """The predictions of each period and bin; the bins by their edges, or those without by their names."""
    totals = rows.groupby(["bin", "low"], dropna=False, sort=False)["count"].sum().reset_index()
    common = totals.nlargest(BINS, "count")
    bins = common.sort_values(["low", "bin"], kind="stable")["bin"].tolist()
    more = [REST] if len(common) < len(totals) else []
    named = rows.assign(bin=rows["bin"].where(rows["bin"].isin(bins), REST))
    table = named.pivot_table(index="window_start", columns="bin", values="count", aggfunc="sum", fill_value=0)
    counts = table.reindex(columns=[*bins, *more], fill_value=0)
    seconds = [int(start.timestamp()) for start in counts.index]
    return {"bins": [*bins, *more], "period": period, "periods": seconds, "counts": counts.to_numpy().tolist()}


def _calibration(rows: pd.DataFrame) -> dict[str, object]:
    names = {"predicted": "predicted", "observed": "observed", "low": "ci_low", "high": "ci_high", "count": "labelled"}
    return {name: rows[column].tolist() for name, column in names.items()}
