"""When labels arrive, how predictions are distributed, and how well they are calibrated: from the outcomes in tiles.

Every tile keeps the outcomes of its predictions (`slis.outcomes`), so this needs no logs and no SLI. Limit: tiles of an
older version of sli whose logs are gone lack them; `attrs["lacking"]` of each frame is how many predictions those have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sli.calendar.duration import SECOND, Duration
from sli.calendar.grain import TUMBLING, Grain
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.connection import connected
from sli.errors import ConfigError
from sli.planning.late_feedback import Horizon
from sli.reading.publication import opened
from sli.reading.question import Question
from sli.reading.question import question as question_of
from sli.rollup.merge import TileTree
from sli.slis.kinds.groups import Groups
from sli.slis.maths.confidence import wilson
from sli.slis.outcomes import NO_VALUE, KeyFields, Outcomes, age_steps, ages_end, fields_of
from sli.slis.states import Flags, Floats, Integers, sums_by, with_states


def label_arrival(
    config: str | Path | Config,
    *,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How many of all predictions have their label by which age, of the final ones between `start` and `end`.

    Columns: age (seconds after the start of the prediction's hour), labelled (how many labels were known by then),
    predictions, share (labelled / predictions). Ages are a tile apart up to 8 tiles, and then a quarter of a doubling.
    The last one has all labels that ever count. No rows if nothing is final yet. Of a corrected label it is the
    correction that counts. `slice` and `as_of` are those of `query`. Raises SliError.

    >>> from sli.reading.outcomes import label_arrival
    >>> arrival = label_arrival(config)
    >>> bool(arrival.share.is_monotonic_increasing)
    True
    """
    question = _question(config, settings, as_of, (None, None, start, end), slice)
    checked = question.config
    final = Horizon.of(checked).final_before(question.published.as_of, checked.tile)
    kept = _kept(_within(question, int(question.starts[0]), min(int(question.ends[0]), final)))
    # No label that counts is known later, though the last step may reach beyond.
    longest = -(-checked.horizon.micros // checked.tile) + 1
    last = int(age_steps(np.array([longest]))[0]) if kept.counts.sum() else -1
    labels = np.bincount(kept.fields.age[kept.fields.labelled], kept.counts[kept.fields.labelled], last + 1)
    labelled = np.cumsum(labels).astype(np.int64)
    ages = np.minimum(ages_end(np.arange(len(labelled))), longest) * (checked.tile / SECOND)
    predictions = int(kept.counts.sum())
    arrival = pd.DataFrame({"age": ages, "labelled": labelled, "predictions": predictions})
    return _told(arrival.assign(share=arrival.labelled / arrival.predictions), kept)


def prediction_shares(
    config: str | Path | Config,
    period: str | Duration = "month",
    *,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How often predictions of each bin occur in each period between `start` and `end`, ordered by period and bin.

    `period` is `hour`, `day`, `week`, `month`, or a length as the `size` of `query`; months and the like that `start`
    or `end` cut are cut. Columns: window_start, window_end, bin (its name), low, high (its edges; NaN if it has none),
    count, share (of all predictions of the period). A bin without predictions in the period has no row. `slice` and
    `as_of` are those of `query`. Raises SliError.

    >>> from sli.reading.outcomes import prediction_shares
    >>> shares = prediction_shares(config, "day")
    >>> bool((shares.groupby("window_start").share.sum().round(9) == 1).all())
    True
    """
    tumbling = isinstance(period, str) and period in TUMBLING
    question = _question(config, settings, as_of, (None if tumbling else period, None, start, end), slice)
    if isinstance(period, str) and tumbling:
        first, last = int(question.starts[0]), int(question.ends[0])
        grain = Grain(period)
        starts, ends = grain.windows(question.config.zone, first, last)
        question = replace(question, grain=grain, starts=np.maximum(starts, first), ends=np.minimum(ends, last))
    kept = _kept(question)
    combinations, count, _ = _summed(kept, [kept.window, kept.fields.bin])
    window, bins = combinations.T
    totals = np.bincount(window, count, len(question.starts))
    times = {"window_start": question.starts[window], "window_end": question.ends[window]}
    columns = {name: pd.to_datetime(instants, unit="us", utc=True) for name, instants in times.items()}
    shares = pd.DataFrame(
        {**columns, **_bins(question.config.outcomes, bins), "count": count, "share": count / totals[window]}
    )
    return _told(shares, kept)


def calibration(
    config: str | Path | Config,
    *,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How well predictions between `start` and `end` are calibrated, bin by bin of those that have a label.

    Columns: bin (its name), low, high (its edges), labelled (predictions with a label), and for a binary task predicted
    (mean score, each rounded to 2^-20), observed (share of positives), ci_low, ci_high (its interval: Wilson 1927, at
    the config's `level`); for regression error (mean of prediction - label). A bin without labels has no row. `slice`
    and `as_of` are those of `query`. Raises SliError, also for another task.

    >>> from sli.reading.outcomes import calibration
    >>> bins = calibration(config)
    >>> bool(((bins.ci_low <= bins.observed) & (bins.observed <= bins.ci_high)).all())
    True
    """
    question = _question(config, settings, as_of, (None, None, start, end), slice)
    task = question.config.task
    if task not in ("binary", "regression"):
        raise ConfigError(
            f"predictions of a {task} task are not calibrated", where="task", expected="binary or regression"
        )
    kept = _kept(question)
    usable = kept.fields.labelled & (kept.fields.bin != NO_VALUE)
    combinations, labelled, sums = _summed(kept, [kept.fields.bin], usable)
    bins = combinations[:, 0]
    rows = pd.DataFrame({**_bins(question.config.outcomes, bins), "labelled": labelled})
    mean = sums / labelled * question.config.outcomes.unit
    if task == "regression":
        return _told(rows.assign(error=mean), kept)
    positive, of_bin, _ = _summed(kept, [kept.fields.bin], usable & kept.fields.positive)
    positives = np.zeros(len(bins), dtype=np.int64)
    positives[np.searchsorted(bins, positive[:, 0])] = of_bin
    low, high = wilson(positives, labelled, question.config.level)
    return _told(rows.assign(predicted=mean, observed=positives / labelled, ci_low=low, ci_high=high), kept)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """The groups of all windows of a question, laid end to end."""

    window: Integers
    """The window of each group."""
    fields: KeyFields
    counts: Integers
    sums: Floats
    lacking: int
    """Predictions of the windows whose tiles keep no outcomes."""


def _question(
    config: str | Path | Config,
    settings: Sequence[str],
    as_of: When,
    windows: tuple[str | Duration | None, str | Duration | None, When, When],
    slice: Mapping[str, str | None] | None,
) -> Question:
    """The question of a function of this module. Raises SliError."""
    publication = opened(load_config(config, settings), as_of)
    if publication.config.outcomes.state.id not in publication.published.states:
        raise ConfigError(
            "the tiles do not keep outcomes of predictions yet: an older version of sli wrote them",
            where=publication.store.root,
            todo="`sli run CONFIG` once",
        )
    return question_of(publication, windows, slice or {})


def _within(asked: Question, start: int, end: int) -> Question:
    """The same question for one window; for none if it is empty."""
    windows = [start] if start < end else []
    ends = np.full(len(windows), end, dtype=np.int64)
    return replace(asked, starts=np.array(windows, dtype=np.int64), ends=ends)


def _kept(asked: Question) -> _Kept:
    """The outcomes that the tiles of the windows keep."""
    config, state = asked.config, asked.config.outcomes.state
    if not len(asked.starts):
        none = np.array([], dtype=np.int64)
        return _Kept(
            window=none, fields=fields_of(np.array([], dtype=object)), counts=none, sums=np.array([]), lacking=0
        )
    tables = asked.tables([state.id])
    assert tables.days is not None
    # Without any rows a table has no column of the state.
    tiles, days = (with_states(rows, {state.id: state}) for rows in (tables.tiles, tables.days))
    with connected(config.parallel, config.task_memory) as con:
        tree = TileTree(con, replace(tables, tiles=tiles, days=days), {state.id: state}, config.tile, asked.caps)
        rows = tree.merge(asked.starts, asked.ends)
        groups = tree.values(state, rows, asked.grain.name, asked.starts)
    assert isinstance(groups, Groups)
    # Slices beyond a cap are merged with those that stay, so one of them is chosen only now.
    chosen = np.array([name == asked.slice for name in rows.slice.to_pylist()], dtype=bool)
    groups = groups.take(np.flatnonzero(chosen))
    return _Kept(
        window=rows.window[chosen][groups.rows],
        fields=fields_of(groups.keys),
        counts=groups.counts,
        sums=groups.sums,
        lacking=int(rows.predictions[chosen].sum() - groups.counts.sum()),
    )


def _summed(kept: _Kept, by: Sequence[Integers], only: Flags | None = None) -> tuple[Integers, Integers, Floats]:
    """The different combinations of `by`, ascending (one row each), with their counts and sums of amounts."""
    chosen = np.ones(len(kept.counts), dtype=bool) if only is None else only
    combinations, at = np.unique(np.column_stack(by)[chosen], axis=0, return_inverse=True)
    at = at.reshape(-1)
    counts = np.zeros(len(combinations), dtype=np.int64)
    np.add.at(counts, at, kept.counts[chosen])
    return combinations, counts, sums_by(at, kept.sums[chosen], len(combinations))


def _bins(outcomes: Outcomes, bins: Integers) -> dict[str, list[str] | list[float]]:
    """The columns that say what bins are."""
    edges = [outcomes.edges(bin) or (np.nan, np.nan) for bin in bins.tolist()]
    return {
        "bin": [outcomes.text(bin) for bin in bins.tolist()],
        "low": [low for low, _ in edges],
        "high": [high for _, high in edges],
    }


def _told(rows: pd.DataFrame, kept: _Kept) -> pd.DataFrame:
    """The rows, with the predictions that they do not tell of."""
    rows.attrs["lacking"] = kept.lacking
    return rows
