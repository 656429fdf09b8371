"""An SLI of two slices, such as champion and challenger: the difference, second minus first, with its interval.

From the stored tiles, which takes the two slices as independent; or from the requests that both scored, which are read
again. Limit: one window, and slices by one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sli.calendar.interval import Interval
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, check_known, nearest
from sli.matching.execute import Report
from sli.reading.figures import number, record
from sli.reading.publication import opened
from sli.reading.query import query
from sli.reading.requests import Choice, Pairing, paired_requests
from sli.slices import SliceBy
from sli.slis import Sli
from sli.slis.formula import Better, Unit, Values, plain
from sli.slis.maths.differences import of_independent
from sli.slis.paired import PairedDifference, Table
from sli.slis.terms import rests_on_labels

NAMED = 10
"""How many slices a message names."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two slices: its value with the interval of that, and its predictions in the window."""

    slice: str
    value: float
    low: float
    high: float
    predictions: int
    labelled: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two slices by the column `by`, and the difference of an SLI, second minus first, with its interval.

    `pairing` says how requests were matched; None: the slices were taken as independent. `table` (how many requests
    count on both sides, on one, on neither) and `p` (McNemar's test) exist for a share of the requests, `resamples` for
    any other paired SLI. Intervals are at `level`; NaN: there is none.
    """

    sli: str
    by: str
    start: pd.Timestamp
    end: pd.Timestamp
    first: Side
    second: Side
    difference: float
    low: float
    high: float
    level: float
    better: Better | None
    unit: Unit
    labels: bool
    """Whether the SLI rests on labelled predictions only."""
    maturity: str
    as_of: pd.Timestamp
    pairing: Pairing | None = None
    table: Table | None = None
    p: float = np.nan
    resamples: int = 0

    @property
    def told(self) -> bool:
        """Whether the interval of the difference says which slice has the higher value."""
        return self.low > 0 or self.high < 0

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows."""
        return {"text/plain": self.sentence}

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        level = f"{self.level * 100:g}% interval"
        counted = f"from {self._counted}"
        if not self.told:
            minus = f"{self.second.slice} minus {self.first.slice} is {self._text(self.difference)}"
            interval = f"{self._text(self.low)} to {self._text(self.high)}"
            return f"no difference can be told: {minus} ({level} {interval}), {counted}"
        nearer, farther = (self._text(end) for end in sorted((abs(self.low), abs(self.high))))
        by = f"by {self._text(abs(self.difference))} ({level} {nearer} to {farther})"
        return f"{self.second.slice} is {self._word} {by}, {counted}"

    def _text(self, value: float) -> str:
        return number(value, None, self.unit)

    @property
    def _word(self) -> str:
        higher = self.difference > 0
        if self.better is None:
            return "higher" if higher else "lower"
        return "better" if higher == (self.better == "higher") else "worse"

    @property
    def _counted(self) -> str:
        if self.pairing is not None:
            return f"{self.pairing.compared:,} requests that both scored"
        counts = [side.labelled if self.labels else side.predictions for side in (self.first, self.second)]
        predictions = "labelled predictions" if self.labels else "predictions"
        return f"{counts[0]:,} and {counts[1]:,} {predictions}, taken as independent"

    def to_dict(self) -> dict[str, object]:
        """As plain values; a NaN is None."""
        table = {"table": None if self.table is None else self.table._asdict()}
        return record(self) | table | {"told": self.told, "sentence": self.sentence}


def compare(
    config: str | Path | Config,
    sli: str,
    slices: Mapping[str, Sequence[str]],
    *,
    pair: str | None = None,
    start: When = None,
    end: When = None,
    settings: Sequence[str] = (),
    progress: Report = lambda *_: None,
) -> Comparison:
    """The difference of an SLI between two slices in a window, second minus first, with its interval.

    `slices` names a column of `slice_by` and two of its values, for example `{"model": ["champion", "challenger"]}`.
    The window is from `start` (default: the config's `since`) to `end` (default: the end of the newest hour).

    Without `pair` both values come from the stored tiles and are taken as independent. With `pair`, a column of the
    predictions, only requests that both slices scored count: the rows with the same value in that column. They are read
    again from the logs as of the last run. Then the interval is mostly narrower, because both sides had the same
    requests. A share of the requests, such as accuracy, has the interval of paired proportions and McNemar's test; any
    other SLI a bootstrap over the requests. If a slice scored a request several times, the first prediction counts.
    `progress` is called with the number of finished tasks and of all. Raises SliError.

    >>> import sli
    >>> sites = sli.compare(config, "accuracy", {"site": ["A", "B"]})
    >>> sites.difference == sites.second.value - sites.first.value, sites.low < sites.difference < sites.high
    (True, True)
    """
    config = load_config(config, settings)
    by, names = _two_slices(slices)
    publication = opened(config)
    _check_column(by, publication.published.slice_sets)
    rows = _rows(config, sli, by, names, start, end)
    asked = _Asked(rows, config.level, by, publication.sli(sli))
    if pair is None:
        return asked.independent()
    choice = Choice(by=by, names=names, pair=pair, window=asked.window)
    requests, pairing = paired_requests(publication, asked.sli, choice, progress)
    _check_pairing(pairing, names, config.min_support)
    difference = requests.difference()
    for name, values in zip(names, (difference.first, difference.second), strict=True):
        if np.isnan(values.value[0]):
            raise _without_value(sli, f"{by}={name}, requests that both scored", str(values.reason[0]))
    if np.isnan(difference.low):
        raise ConfigError(
            f"no interval is known for the difference of {sli}",
            where=f"{pairing.compared:,} requests that both scored",
            found="too few of them, or too many resamples of them without a value",
            todo="choose a longer time",
        )
    return asked.paired(difference, pairing)


def _two_slices(slices: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, str]]:
    """The column and its two values. Raises ConfigError."""
    expected = "a column and two of its values, for example model=champion,challenger"
    found = "; ".join(f"{column}={','.join(map(str, values))}" for column, values in slices.items())
    if len(slices) != 1:
        raise ConfigError("slices by one column are compared", where="--slices", expected=expected, found=found)
    [(column, values)] = slices.items()
    if isinstance(values, str) or len(values) != 2 or len({*values}) != 2:
        raise ConfigError("two slices are compared", where="--slices", expected=expected, found=found)
    first, second = map(str, values)
    return column, (first, second)


def _check_column(by: str, slice_sets: Sequence[SliceBy]) -> None:
    """Raise ConfigError unless there are slices by this column alone."""
    check_known(
        f"there are no slices by '{by}'",
        by,
        [names[0] for names in slice_sets if len(names) == 1],
        where="--slices",
        nothing="a column of `slice_by`, which lists none alone",
        todo=f"list [{by}] under `slice_by` and run once",
    )


def _rows(config: Config, sli: str, by: str, names: tuple[str, str], start: When, end: When) -> pd.DataFrame:
    """What is stored of both slices: two rows that have a value. Raises ConfigError."""
    rows = [query(config, sli, start=start, end=end, slice={by: name}) for name in names]
    for name, row in zip(names, rows, strict=True):
        if row.empty:
            there = query(config, sli, start=start, end=end, slice_by=[by])["slice"]
            values = [str(slice[by]) for slice in there]
            more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
            raise ConfigError(
                "a slice has no predictions in this time",
                where="--slices",
                expected=f"{by}={', '.join(values[:NAMED])}{more}" if values else "a time with predictions",
                found=f"{by}={name}",
                todo=nearest(name, values),
            )
        if np.isnan(row.value.iloc[0]):
            raise _without_value(sli, f"{by}={name}", str(row.reason.iloc[0]))
    return pd.concat(rows, ignore_index=True)


def _without_value(sli: str, slice: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{sli} has no value in a slice", where=slice, found=reason, todo="choose another --start or --end"
    )


def _check_pairing(pairing: Pairing, names: tuple[str, str], support: int) -> None:
    """Raise ConfigError if there are no or too few requests to compare."""
    found = f"{pairing.requests:,} requests that both scored"
    if not pairing.requests:
        only = " and ".join(
            f"{count:,} that only {name} scored" for count, name in zip(pairing.unpaired, names, strict=True)
        )
        raise ConfigError(
            "no request was scored by both slices",
            where="--pair",
            expected="a column whose values say which predictions belong to the same request",
            found=only,
            todo="choose another column or time, or leave out --pair",
        )
    if not pairing.compared:
        raise ConfigError(
            "no request has a label and a value on both sides", where="--pair", found=found, todo="choose another time"
        )
    if pairing.compared < support:
        raise ConfigError(
            "too few requests can be compared",
            where="--pair",
            expected=f"{support:,} or more (`min_support`)",
            found=f"{pairing.compared:,}",
            todo="choose a longer time",
        )


@dataclass(frozen=True)
class _Asked:
    """What is compared, and what is stored of it."""

    rows: pd.DataFrame
    level: float
    by: str
    sli: Sli

    @property
    def window(self) -> Interval:
        """The window, the same in both rows."""
        start, end = (round(self.rows[name].iloc[0].timestamp() * 1e6) for name in ("window_start", "window_end"))
        return Interval(start, end)

    def independent(self) -> Comparison:
        """The comparison from what is stored of both slices. Raises ConfigError if a value has no interval."""
        value, low, high = (self.rows[name].to_numpy(dtype=np.float64) for name in ("value", "ci_low", "ci_high"))
        if np.isnan([low, high]).any():
            raise ConfigError(
                f"{self.sli.name} has no interval in this time, so its difference has none either",
                where="SLI",
                todo="compare the requests that both slices scored: --pair COLUMN",
            )
        first, second = (plain(value[[i]], np.array([None])).within(low[[i]], high[[i]]) for i in range(2))
        return self._comparison((first, second), tuple(float(end[0]) for end in of_independent(first, second)))

    def paired(self, difference: PairedDifference, pairing: Pairing) -> Comparison:
        """The comparison from requests that both scored."""
        ends = (difference.value, difference.low, difference.high)
        found = self._comparison((difference.first, difference.second), ends)
        more = {name: getattr(difference, name) for name in ("table", "p", "resamples")}
        return replace(found, pairing=pairing, **more)

    def _comparison(self, sides: tuple[Values, Values], difference: tuple[float, ...]) -> Comparison:
        value, low, high = difference
        first, second = (
            Side(
                slice=str(row["slice"][self.by]),
                **{name: float(getattr(values, name)[0]) for name in ("value", "low", "high")},
                predictions=int(row["predictions"]),
                labelled=int(row["labelled"]),
            )
            for (_, row), values in zip(self.rows.iterrows(), sides, strict=True)
        )
        row = self.rows.iloc[0]
        return Comparison(
            sli=self.sli.name,
            by=self.by,
            start=row.window_start,
            end=row.window_end,
            first=first,
            second=second,
            difference=value,
            low=low,
            high=high,
            level=self.level,
            better=self.sli.direction,
            unit=self.sli.unit,
            labels=rests_on_labels(self.sli.formula),
            maturity=row.maturity,
            as_of=row.as_of,
        )
