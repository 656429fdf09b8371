"""Arrival of labels, distribution and calibration of predictions: from tiles as from the raw pairs."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from worlds import CLASSES, config_of, pairs_of, write_logs

import sli
from sli.config.load import checked
from sli.errors import ConfigError
from sli.publishing.store import Store
from sli.reading.outcomes import calibration, label_arrival, prediction_shares
from sli.reading.raw_pairs import raw_pairs

TASKS = ("binary", "multiclass", "regression", "ranking")
AS_OF = "2024-03-18T05:00Z"
FINAL = pd.Timestamp("2024-03-11T05:00Z")
SLICES = [{}, {"region": "north"}, {"region": None}]
MIDDLE = pd.Timestamp("2024-03-10T15:00Z")


@pytest.fixture(scope="module", params=[("UTC", task) for task in TASKS] + [("Asia/Kolkata", "binary")], ids=str)
def published(request, tmp_path_factory):
    """A config whose results are published, and its pairs by plain pandas."""
    zone, task = request.param
    folder = tmp_path_factory.mktemp(task)
    write_logs(folder, pairs_of(task), task)
    tree = config_of(task, ["count"]) | {"timezone": zone, "threshold": 0.3, "grains": ["day"], "folder": str(folder)}
    tree["store"] = str(folder / "results")
    for log in ("predictions", "feedback"):
        tree[log] = tree[log] | {"path": str(folder / log)}
    config = checked(tree)
    sli.run(config, as_of=AS_OF)
    state = Store(config.store).published()
    return config, raw_pairs(config, Store(config.store).inputs(state), state.as_of)


def of_slice(pairs, slice_):
    for name, value in slice_.items():
        column = pairs[f"slice:{name}"]
        pairs = pairs[column.isna() if value is None else column == value]
    return pairs


@pytest.mark.parametrize("slice_", SLICES, ids=str)
def test_labels_arrive_as_the_pairs_say(published, slice_):
    config, pairs = published
    tile = pd.Timedelta(config.tile, "us")
    arrival = label_arrival(config, slice=slice_)
    final = of_slice(pairs, slice_)
    final = final[final.predicted_at < FINAL]
    hours = (final.known_at.dt.floor(tile) - final.predicted_at.dt.floor(tile)).where(final.labelled)
    assert len(arrival) > 20
    assert (arrival.predictions == len(final)).all()
    assert arrival.labelled.tolist() == [int((hours < pd.Timedelta(age, "s")).sum()) for age in arrival.age]
    assert arrival.labelled.iloc[-1] == final.labelled.sum()
    assert (arrival.share == arrival.labelled / len(final)).all()
    assert arrival.attrs["lacking"] == 0


def edges_of(config):
    if config.task == "binary":
        return np.unique([*(np.arange(10) / 10), 0.3])
    steps = np.outer(2.0 ** np.arange(-30, 30), [1, 1.25, 1.5, 1.75]).ravel()
    return np.concatenate([-steps[::-1], [0.0], steps])


def bins_of(config, pairs):
    """The least value of the bin of each prediction, or its class; NaN without a value."""
    if config.task == "multiclass":
        return pairs.prediction.map({name: float(i) for i, name in enumerate(CLASSES)}).astype(float)
    edges, values = edges_of(config), pairs.prediction.astype(float)
    # Below 0 the edges belong to the bins beyond them.
    at = np.where(values < 0, np.searchsorted(edges, values) - 1, np.searchsorted(edges, values, side="right") - 1)
    return pd.Series(np.append(edges, np.nan)[np.where(values.isna(), len(edges), at)], index=pairs.index)


def name_of(config, bin_):
    if np.isnan(bin_):
        return "no value"
    return CLASSES[int(bin_)] if config.task == "multiclass" else bin_


@pytest.mark.parametrize("slice_", SLICES, ids=str)
@pytest.mark.parametrize("period", ["day", "30h"])
def test_predictions_are_distributed_as_the_pairs_say(published, slice_, period):
    config, pairs = published
    shares = prediction_shares(config, period, start=MIDDLE, slice=slice_)
    chosen = of_slice(pairs, slice_)
    chosen = chosen[chosen.predicted_at >= MIDDLE]
    expected = {}
    for start, end in shares[["window_start", "window_end"]].drop_duplicates().itertuples(index=False):
        part = chosen[(chosen.predicted_at >= start) & (chosen.predicted_at < end)]
        for bin_, count in bins_of(config, part).value_counts(dropna=False).items():
            expected[start, name_of(config, bin_)] = count, count / len(part)
    named = config.task == "multiclass"
    keys = [
        (row.window_start, row.bin if named or row.bin == "no value" else row.low)
        for row in shares.itertuples(index=False)
    ]
    assert dict(zip(keys, zip(shares["count"], shares.share, strict=True), strict=True)) == expected
    if period == "day":
        assert shares["count"].sum() == len(chosen)
        local = shares.window_start.dt.tz_convert(config.timezone).iloc[1:]
        assert (local[local.dt.date > local.dt.date.min()].dt.hour == 0).all()


@pytest.mark.parametrize("slice_", SLICES, ids=str)
def test_predictions_are_calibrated_as_the_pairs_say(published, slice_):
    config, pairs = published
    if config.task not in ("binary", "regression"):
        with pytest.raises(ConfigError, match=f"predictions of a {config.task} task are not calibrated"):
            calibration(config)
        return
    bins = calibration(config, slice=slice_, end=MIDDLE)
    used = of_slice(pairs, slice_)
    used = used[used.usable & (used.predicted_at < MIDDLE)]
    groups = used.groupby(bins_of(config, used))
    assert bins.low.tolist() == list(groups.groups)
    assert bins.labelled.tolist() == groups.size().tolist()
    if config.task == "regression":
        errors = groups.apply(lambda rows: (rows.prediction - rows.label).mean(), include_groups=False)
        assert bins.error.tolist() == pytest.approx(errors.tolist(), rel=1e-12, abs=1e-12)
        return
    assert bins.predicted.tolist() == pytest.approx(groups.prediction.mean().tolist(), rel=0, abs=2**-21)
    positives = used.label.astype(int).groupby(bins_of(config, used)).sum()
    assert bins.observed.tolist() == (positives / bins.labelled.to_numpy()).tolist()
    for row, positive in zip(bins.itertuples(index=False), positives, strict=True):
        interval = binomtest(int(positive), int(row.labelled)).proportion_ci(config.level, method="wilson")
        assert (row.ci_low, row.ci_high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_nothing_final_yet_has_no_arrival(published):
    config, _ = published
    arrival = label_arrival(config, start=FINAL)
    assert (len(arrival), list(arrival.columns)) == (0, ["age", "labelled", "predictions", "share"])
