"""Proof on the user's own data: values recomputed from the raw logs by plain pandas must equal what is published.

It uses nothing of the engine but the list of files: no tiles, no states, no DuckDB. Limit: it reads both logs whole
into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd

from sli.calendar.duration import MINUTE
from sli.calendar.interval import iso, moment
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.logs.agreement import with_usable_slices
from sli.logs.discovery import were_read
from sli.planning.needs import HELD, RECOMPUTE
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.reading.raw_pairs import raw_pairs, reference_pairs
from sli.reading.read import read
from sli.slices import OTHER, SliceBy, slice_text
from sli.slis import Reference, Sli
from sli.tiles.dry_run import check_code

TOLERANCE = 1e-9
Groups = dict[tuple[str | None, ...], pd.DataFrame]
"""Pairs by the values of their slice columns."""


class _Row(Protocol):
    """A published row: the columns that are compared."""

    sli: str
    slice: Mapping[str, str | None]
    value: float
    error_bound: float
    predictions: int
    labelled: int


@dataclass
class Verification:
    """How many windows and results were compared, and each difference as a sentence.

    Two kinds are counted but not compared: results estimated from samples (`estimates`), and windows that contain hours
    still to be computed or held (`waiting`). `as_of` is in microseconds since 1970.
    """

    as_of: int
    windows: int
    windows_total: int
    rows: int = 0
    estimates: int = 0
    waiting: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        return {**self.__dict__, "as_of": iso(self.as_of), "equal": self.equal}

    def lines(self) -> list[str]:
        """What `sli verify` prints."""
        lines = [
            f"{self.rows:,} results in {self.windows:,} of {self.windows_total:,} windows "
            f"recomputed from the raw logs as of {iso(self.as_of)}"
        ]
        if self.estimates:
            lines.append(f"not compared: {self.estimates:,} results that are estimates from samples")
        if self.waiting:
            lines.append(f"not compared: {self.waiting:,} windows with hours that are held or still to be computed")
        if self.equal:
            return [*lines, "all equal"]
        shown = self.differences[:10]
        more = [f"... {len(self.differences) - 10:,} more"] if len(self.differences) > 10 else []
        return [*lines, f"{len(self.differences):,} differ:", *(f"  {difference}" for difference in shown), *more]


def verify(config: str | Path | Config, *, windows: int | None = 50, settings: Sequence[str] = ()) -> Verification:
    """Recompute published results from the raw logs and compare them.

    `windows` says how many windows to check (None: all). The choice looks random but is always the same. Values must
    agree to a relative 1e-9; an approximate value may also differ by its error bound. Counts must be equal. `settings`
    override keys of the config, each `KEY=VALUE`. Raises SliError.

    >>> import sli
    >>> verification = sli.verify(config, windows=None)
    >>> verification.equal, verification.differences
    (True, [])
    """
    config = load_config(config, settings)
    check_code(config.declared, config.dask)
    store = Store(config.store, config.storage)
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    published.check_current(config.store)
    series = {sli.name: config.definition(sli) for sli in config.declared}
    inputs = store.inputs(published)
    if published.base != config.base or dict(published.series) != series or not were_read(config, inputs):
        raise ConfigError("the config differs from what is published", where="CONFIG", todo="`sli run CONFIG` first")
    config = with_usable_slices(config, inputs)
    frame = read(config)
    declared = frame.grain.isin([grain.name for grain in config.all_grains]) & frame.slice_by.isin(config.slice_sets)
    frames, total = _by_window(frame, windows)
    verification = Verification(published.as_of, 0, total)
    if not declared.all():
        verification.differences.append(f"{int((~declared).sum()):,} rows of grains or slices that the config lacks")
    pairs, tables = raw_pairs(config, inputs, published.as_of), reference_pairs(config, inputs.predictions)
    for rows in frames:
        grain, start, end = rows[["grain", "window_start", "window_end"]].iloc[0]
        if _is_incomplete(published, start, end):
            verification.waiting += 1
            continue
        verification.windows += 1
        window = _Window(config, pairs, tables, grain, start, end)
        for slice_by in config.slice_sets:
            window.compare(verification, slice_by, rows[rows.slice_by == slice_by])
    return verification


def _by_window(frame: pd.DataFrame, windows: int | None) -> tuple[list[pd.DataFrame], int]:
    """One frame for each window to check, and how many windows there are. A hash of the window says which to check."""
    groups = list(frame.groupby(["grain", "window_start", "window_end"], sort=True))
    by_hash = sorted(groups, key=lambda group: hashlib.sha256(str(group[0]).encode()).hexdigest())
    return [rows for _, rows in by_hash[:windows]], len(groups)


def _is_incomplete(published: Published, start: pd.Timestamp, end: pd.Timestamp) -> bool:
    """Whether a window contains hours that are still to be computed or held."""
    intervals = published.needs.of(RECOMPUTE, HELD)
    return any(pd.Timestamp(moment(i.start)) < end and pd.Timestamp(moment(i.end)) > start for i in intervals)


class _Window:
    """The pairs of one window, and the pairs of the references that its SLIs compare it with."""

    def __init__(
        self,
        config: Config,
        pairs: pd.DataFrame,
        tables: Mapping[str, pd.DataFrame],
        grain: str,
        start: pd.Timestamp,
        end: pd.Timestamp,
    ) -> None:
        self.config, self.pairs, self.tables = config, pairs, tables
        self.grain, self.start, self.end = grain, start, end
        self.name = f"{grain} {start:%Y-%m-%dT%H:%MZ}..{end:%Y-%m-%dT%H:%MZ}"
        self.inside = _between(pairs, start, end)

    def compare(self, verification: Verification, slice_by: SliceBy, rows: pd.DataFrame) -> None:
        """Compare each published row of one set of slice columns with the value that its pairs give."""
        published = {(row.sli, tuple(row.slice.values())): row for row in cast("Iterable[_Row]", rows.itertuples())}
        groups = _capped(_sliced(self.inside, slice_by), self.config.caps.get(slice_by))
        references = {sli.reference: self._reference(sli.reference, slice_by) for sli in self.config.declared}
        for key, members in groups.items():
            members.attrs.update(end=round(self.end.timestamp() * 1e6), tile=f"{self.config.tile // MINUTE}min")
            for sli in self.config.declared:
                row = published.pop((sli.name, key), None)
                name = f"{sli.name}, {self.name}, {dict(zip(slice_by, key, strict=True)) or 'all'}"
                if row is None:
                    verification.differences.append(f"{name}: not published, {len(members)} predictions found")
                elif np.isnan(row.error_bound) and not np.isnan(row.value):
                    verification.estimates += 1
                else:
                    verification.rows += 1
                    reference = references[sli.reference]
                    other = None if reference is None else reference.get(key, self.pairs.iloc[:0])
                    value = self._value(sli, bool(slice_by), members, other)
                    verification.differences += _differences(name, row, members, value)
        verification.differences += [
            f"{sli}, {self.name}, {key}: published, no prediction found" for sli, key in published
        ]

    def _value(self, sli: Sli, sliced: bool, members: pd.DataFrame, reference: pd.DataFrame | None) -> float:
        value = sli.formula.on_rows(*([members] if reference is None else [members, reference]))
        return float("nan") if sliced and len(members) < self.config.min_support else value

    def _reference(self, reference: Reference | None, slice_by: SliceBy) -> Groups | None:
        """The pairs of the reference by slice."""
        if reference is None:
            return None
        if reference.kind == "table":
            pairs = self.tables[reference.path]
        elif reference.interval is not None:
            start, end = (pd.Timestamp(moment(edge)) for edge in (reference.interval.start, reference.interval.end))
            pairs = _between(self.pairs, start, end)
        else:
            grain = next(grain for grain in self.config.all_grains if grain.name == self.grain)
            start_of, end_of = (np.array([round(time.timestamp() * 1e6)]) for time in (self.start, self.end))
            before = grain.before(self.config.zone, start_of, end_of)[0]
            pairs = _between(self.pairs, pd.Timestamp(moment(int(before))), self.start)
        return _sliced(pairs, slice_by)


def _between(pairs: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return pairs[(pairs.predicted_at >= start) & (pairs.predicted_at < end)]


def _sliced(pairs: pd.DataFrame, slice_by: SliceBy) -> Groups:
    if not slice_by:
        return {(): pairs} if len(pairs) else {}
    groups = pairs.groupby([pairs[f"slice:{name}"] for name in slice_by], dropna=False, sort=False)
    # pandas types a key as any hashable; a list of columns gives tuples.
    by_values = cast("Iterable[tuple[tuple[str | None, ...], pd.DataFrame]]", groups)
    return {tuple(None if pd.isna(value) else value for value in key): members for key, members in by_values}


def _capped(groups: Groups, top: int | None) -> Groups:
    """The `top` largest groups, and the rest together."""
    if top is None or len(groups) <= top:
        return groups
    # Ties are ordered by the text of the slice, as in the tables.
    names = [str(i) for i in range(len(next(iter(groups))))]
    order = sorted(groups, key=lambda key: (-len(groups[key]), slice_text(dict(zip(names, key, strict=True)))))
    rest = (OTHER,) * len(names)
    small = [groups[key].assign(query=_queries(groups[key]["query"], i)) for i, key in enumerate(order[top:])]
    return {key: groups[key] for key in order[:top]} | {rest: pd.concat(small)}


def _queries(queries: pd.Series, slice: int) -> pd.Series:
    """Queries prefixed with the number of their slice: in `(other)` a query that occurs in two slices counts twice."""
    return queries.where(queries.isna(), f"{slice} " + queries.astype(str))


def _differences(name: str, row: _Row, members: pd.DataFrame, value: float) -> list[str]:
    differences = []
    labelled = int(members.labelled.sum())
    if (row.predictions, row.labelled) != (len(members), labelled):
        differences.append(
            f"{name}: {row.predictions} predictions, {row.labelled} labelled; found {len(members)}, {labelled}"
        )
    allowed = TOLERANCE * abs(value) + 1e-12 + (0.0 if np.isnan(row.error_bound) else row.error_bound)
    if np.isnan(row.value) != np.isnan(value) or (not np.isnan(value) and abs(row.value - value) > allowed):
        differences.append(f"{name}: {row.value} published, {value} recomputed")
    return differences
