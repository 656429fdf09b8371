"""Proof on the user's own data: values recomputed from the raw logs by brute force must equal what is published.

Plain pandas makes the pairs, windows and slices; see `brute_force`. So a wrong join, window, slice or merge, or a stale
tile, shows as a difference. Limit: both logs are read whole into memory; and what a pair adds to a state, and what an
SLI makes of its states, is not computed in a second way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from sli.calendar.interval import iso
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.logs.agreement import with_usable_slices
from sli.logs.discovery import were_read
from sli.logs.files import Inputs
from sli.planning.extent import Extent
from sli.planning.late_feedback import Horizon
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, lacks_any
from sli.planning.published import Published
from sli.planning.stages import windows_resting_on
from sli.publishing.rows import flat_rows
from sli.publishing.store import Store
from sli.reading.brute_force import Key, PlainPairs, Rules, Sliced, Span, values_of
from sli.reading.raw_pairs import raw_pairs, reference_pairs
from sli.rollup.results import encode
from sli.slices import OTHER, SliceBy, parse_slice, slice_text
from sli.slis import Reference, Sli
from sli.slis.custom.function import loaded
from sli.slis.kinds.lists import ListState
from sli.slis.states import Floats, Integers, Merged, integers
from sli.slis.terms import states_of_pairs
from sli.tiles.dry_run import check_code

TOLERANCE = 1e-9
WINDOW = ("grain", "window_start", "window_end")
COLUMNS = (
    *("sli", *WINDOW, "slice_by", "slice"),
    *("value", "ci_low", "ci_high", "error_bound", "predictions", "labelled", "coverage", "maturity", "as_of"),
)
ALWAYS: Span = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
"""The stretch of time of a reference table, whose rows have no time."""


@dataclass
class Verification:
    """How many windows and results were compared, and each difference as a sentence.

    Of results estimated from samples (`estimates`) only counts, coverage and maturity are compared, of other
    approximate ones also the value. Windows that
    contain hours still to be computed or held (`waiting`) are not compared at all. `as_of` is in microseconds since
    1970.
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

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows."""
        return {"text/plain": "\n".join(self.lines())}

    def lines(self) -> list[str]:
        """What `sli verify` prints."""
        lines = [
            f"{self.rows:,} results in {self.windows:,} of {self.windows_total:,} windows "
            f"recomputed from the raw logs as of {iso(self.as_of)}"
        ]
        if self.estimates:
            lines.append(
                f"only counts, coverage and maturity compared: {self.estimates:,} results estimated from samples"
            )
        if self.waiting:
            lines.append(f"not compared: {self.waiting:,} windows with hours that are held or still to be computed")
        if self.equal:
            return [*lines, "all equal"]
        shown = self.differences[:10]
        more = [f"... {len(self.differences) - 10:,} more"] if len(self.differences) > 10 else []
        return [*lines, f"{len(self.differences):,} differ:", *(f"  {difference}" for difference in shown), *more]


def verify(config: str | Path | Config, *, windows: int | None = 50, settings: Sequence[str] = ()) -> Verification:
    """Recompute published results from the raw logs and compare them.

    `windows` says how many windows to check (None: all). The choice looks random but is always the same. Counts must be
    equal, values and both ends of intervals to a relative 1e-9; an approximate value may also differ by its error
    bound, and its interval is not compared. Where scores may be rounded, the ends of an interval may differ by a
    hundredth of it. `settings` override keys of the config, each `KEY=VALUE`. Raises SliError.

    >>> import sli
    >>> verification = sli.verify(config, windows=None)
    >>> verification.equal, verification.differences
    (True, [])
    """
    config = load_config(config, settings)
    check_code(config.declared, config.dask)
    store = Store(config.store, config.storage)
    published, inputs = _published_as_declared(config, store)
    config = with_usable_slices(config, inputs)
    frame = _published_rows(store, published)
    # Slice sets that the config gained may wait for a backfill.
    sets = {",".join(columns): columns for columns in config.slice_sets if columns in published.slice_sets}
    declared = frame.grain.isin([grain.name for grain in config.all_grains]) & frame.slice_by.isin(list(sets))
    brute, rows_of = _Brute(config, inputs, published), _by_window(frame[declared])
    keys = sorted({*rows_of, *brute.windows()}, key=lambda key: hashlib.sha256(str(key).encode()).hexdigest())
    verification = Verification(published.as_of, 0, len(keys))
    if not declared.all():
        verification.differences.append(f"{int((~declared).sum()):,} rows of grains or slices that the config lacks")
    for grain, span in keys[:windows]:
        rows = rows_of.get((grain, span), frame[:0])
        slis = brute.complete(grain, span)
        if not slis:
            verification.waiting += 1
            continue
        verification.windows += 1
        for text, slice_by in sets.items():
            _Window(brute, grain, span, slice_by).compare(verification, rows[rows.slice_by == text], slis)
    return verification


def _by_window(frame: pd.DataFrame) -> dict[tuple[str, Span], pd.DataFrame]:
    """The rows of each window, by its grain and its stretch of time."""
    windows = frame.groupby(list(WINDOW), sort=True)
    return {
        (grain, (int(start), int(end))): rows
        for (grain, start, end), rows in cast("Iterable[tuple[tuple[str, int, int], pd.DataFrame]]", windows)
    }


def _published_as_declared(config: Config, store: Store) -> tuple[Published, Inputs]:
    """What is published, and the files it rests on. Raises StoreError, and ConfigError if the config asks for more."""
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    published.check_current(config.store)
    inputs, declared = store.inputs(published), Extent.declared(config)
    same = published.series == declared.series and set(declared.grains) <= set(published.grains)
    if published.base != config.base or not same or not were_read(config, inputs):
        raise ConfigError("the config differs from what is published", where="CONFIG", todo="`sli run CONFIG` first")
    return published, inputs


def _published_rows(store: Store, published: Published) -> pd.DataFrame:
    """The columns of the results that are compared; `key` has the values of the slice as a tuple."""
    rows = flat_rows(store.rows("results", published, COLUMNS))
    slices = encode(rows.column("slice"))
    keys = np.empty(len(slices.dictionary), dtype=object)
    keys[:] = [tuple(parse_slice(str(text)).values()) for text in slices.dictionary.to_pylist()]
    frame: pd.DataFrame = rows.drop_columns(["slice", "as_of"]).to_pandas()
    return frame.assign(key=keys[integers(slices.indices)])


class _Brute:
    """The pairs of the logs and of the reference tables, by each set of slice columns."""

    def __init__(self, config: Config, inputs: Inputs, published: Published) -> None:
        self.config, self.published = config, published
        self.grains = {grain.name: grain for grain in config.all_grains}
        self.logs = self._sliced(raw_pairs(config, inputs, published.as_of), config.declared)
        self.tables = {
            path: self._sliced(
                pairs, (sli for sli in config.declared if sli.reference == Reference("table", path=path))
            )
            for path, pairs in reference_pairs(config, inputs.predictions).items()
        }

    def _sliced(self, pairs: pd.DataFrame, slis: Iterable[Sli]) -> dict[SliceBy, Sliced]:
        config = self.config
        states = {state.id: state for sli in slis for state in states_of_pairs(sli.formula).values()}
        rules = Rules(
            task=config.task,
            columns=config.columns,
            states=states,
            functions={state.call: loaded(state.call, config.folder) for state in states.values() if state.call},
            tile=config.tile,
            level=config.level,
        )
        plain = PlainPairs(pairs, rules)
        return {slice_by: plain.sliced(slice_by) for slice_by in config.slice_sets}

    def windows(self) -> Iterator[tuple[str, Span]]:
        """The windows that hold predictions, each with its grain."""
        [pairs, _], *_ = next(iter(self.logs.values())).units
        zone, newest = self.config.zone, self.published.newest
        # Predictions in hours that are held, or still to be computed, made no window yet.
        if not self.published.needs and len(pairs.time) and pairs.time[-1] >= newest:
            newest = int(zone.hours(int(pairs.time[-1]), int(pairs.time[-1]) + 1)[-1])
        for name, grain in self.grains.items():
            starts, ends = grain.windows(zone, self.config.since_instant, newest)
            held = np.searchsorted(pairs.time, starts) < np.searchsorted(pairs.time, ends)
            yield from ((name, span) for span in zip(starts[held].tolist(), ends[held].tolist(), strict=True))

    def complete(self, grain: str, span: Span) -> list[Sli]:
        """The SLIs for which a window, and what it is compared with, rests on no tile that waits or is held."""
        (start, end), needs = (np.array([edge]) for edge in span), self.published.needs

        def rests(sli: Sli) -> bool:
            tiles = needs.of(RECOMPUTE, CONFIRM, HELD, *lacks_any(sli))
            zone, declared = self.config.zone, self.grains[grain]
            return bool(windows_resting_on(zone, declared, start, end, tiles, sli.reference)[0])

        return [sli for sli in self.config.declared if not (needs and rests(sli))]

    def reference(self, reference: Reference, grain: str, span: Span, slice_by: SliceBy) -> tuple[Sliced, Span]:
        """The pairs that a window is compared with, and their stretch of time."""
        if reference.kind == "table":
            return self.tables[reference.path][slice_by], ALWAYS
        if reference.interval is not None:
            return self.logs[slice_by], (reference.interval.start, reference.interval.end)
        before = self.grains[grain].before(self.config.zone, *(np.array([edge]) for edge in span))[0]
        return self.logs[slice_by], (int(before), span[0])


class _Window:
    """One window of one set of slice columns: each row is a slice with pairs, or "(other)"."""

    def __init__(self, brute: _Brute, grain: str, span: Span, slice_by: SliceBy) -> None:
        self.brute, self.grain, self.span, self.slice_by = brute, grain, span, slice_by
        self.sliced = brute.logs[slice_by]
        sizes = self.sliced.sizes(span)
        self.row_of_key, self.row_of = self._rows(sizes, brute.config.caps.get(slice_by))
        """The row of each slice by its values; and by its code, -1 if it has no pairs in the window."""
        self.name = f"{grain} {iso(span[0])}..{iso(span[1])}"
        self.predictions, self.labelled = (
            self._by_row(counts) for counts in (sizes, self.sliced.sizes(span, "labelled"))
        )
        final = Horizon.of(brute.config).final(np.array([span[1]]), brute.published.as_of)[0]
        self.maturity = "final" if final else "provisional"

    def _by_row(self, counts: Integers) -> Integers:
        """The counts of slices, added up by their rows."""
        numbers = np.zeros(len(self.row_of_key), dtype=np.int64)
        np.add.at(numbers, self.row_of[counts > 0], counts[counts > 0])
        return numbers

    def _rows(self, sizes: Integers, top: int | None) -> tuple[dict[Key, int], Integers]:
        """A row for each of the `top` largest slices, and one for the rest together."""
        keys, codes, rest = self.sliced.keys, np.flatnonzero(sizes), np.array([], dtype=np.int64)
        if top is not None and len(codes) > top:
            # Ties are ordered by the text of the slice, as in the tables.
            texts = [slice_text(dict(zip(self.slice_by, keys[code], strict=True))) for code in codes]
            codes = codes[np.lexsort((np.array(texts, dtype=object), -sizes[codes]))]
            codes, rest = codes[:top], codes[top:]
        row_of_key, row_of = {keys[code]: row for row, code in enumerate(codes)}, np.full(len(keys), -1)
        row_of[codes] = np.arange(len(codes))
        if len(rest):
            row_of[rest] = row_of_key.setdefault((OTHER,) * len(self.slice_by), len(row_of_key))
        return row_of_key, row_of

    def compare(self, verification: Verification, rows: pd.DataFrame, slis: Sequence[Sli]) -> None:
        """Compare the published rows of these SLIs with what the pairs of the window give."""
        every = [sli.name for sli in self.brute.config.declared]
        row = np.array([self.row_of_key.get(key, -1) for key in rows.key], dtype=np.int64)
        published = rows.assign(row=row)
        known = published[published.row >= 0].sort_values("row", kind="stable")
        of_sli = dict(list(known.groupby("sli", observed=True)))
        unknown = published[(published.row < 0) | ~published.sli.isin(every)]
        # The row of the window, the SLI, and what differs.
        differences: list[tuple[int, str, str]] = []
        together: dict[tuple[bytes, Reference | None], list[tuple[Sli, pd.DataFrame]]] = {}
        for sli in slis:
            own = of_sli.get(sli.name, known.iloc[:0])
            times = np.bincount(own.row, minlength=len(self.predictions))
            for at in np.flatnonzero(times != 1).tolist():
                absent = f"not published, {self.predictions[at]} predictions found"
                differences.append((at, sli.name, absent if not times[at] else f"published {times[at]} times"))
            own = own.drop_duplicates("row")
            differences += [(at, sli.name, text) for at, text in self._counts(own)]
            compared = own[own.error_bound.notna() | own.value.isna()]
            verification.estimates += len(own) - len(compared)
            verification.rows += len(compared)
            together.setdefault((compared.row.to_numpy().tobytes(), sli.reference), []).append((sli, compared))
        for (_, reference), several in together.items():
            numbers = several[0][1].row.to_numpy()
            states = self._states(numbers, reference, [sli for sli, _ in several])
            for sli, compared in several:
                texts = _differing(compared, self._recomputed(sli, *states), _may_round(sli))
                differences += [(int(numbers[j]), sli.name, text) for j, text in texts]
        keys = list(self.row_of_key)
        for number, name, text in sorted(differences, key=lambda one: (one[0], every.index(one[1]))):
            slice = dict(zip(self.slice_by, keys[number], strict=True)) or "all"
            verification.differences.append(f"{name}, {self.name}, {slice}: {text}")
        verification.differences += [
            f"{name}, {self.name}, {key}: published, no prediction found"
            for name, key in zip(unknown.sli, unknown.key, strict=True)
        ]

    def _counts(self, published: pd.DataFrame) -> Iterator[tuple[int, str]]:
        """What differs in counts, coverage and maturity: the row, and the text."""
        row, coverage, maturity = (published[name].to_numpy() for name in ("row", "coverage", "maturity"))
        predictions, labelled = (published[name].to_numpy() for name in ("predictions", "labelled"))
        counted, known = self.predictions[row], self.labelled[row]
        for i in np.flatnonzero((predictions != counted) | (labelled != known)):
            yield int(row[i]), f"{predictions[i]} predictions, {labelled[i]} labelled; found {counted[i]}, {known[i]}"
        for i in np.flatnonzero(~(np.abs(coverage - known / counted) <= TOLERANCE)):
            yield int(row[i]), f"coverage {coverage[i]} published, {known[i] / counted[i]} recomputed"
        for i in np.flatnonzero(maturity != self.maturity):
            yield int(row[i]), f"{maturity[i]} published, {self.maturity} found"

    def _states(
        self, numbers: Integers, reference: Reference | None, slis: Sequence[Sli]
    ) -> tuple[Merged, Merged | None]:
        """The states of these rows by their ids, and those of what the rows are compared with."""
        states = {state.id for sli in slis for state in sli.formula.states.values()}
        # The row of a slice without pairs is -1, which finds the last element here.
        place = np.full(len(self.predictions) + 1, -1)
        place[numbers] = np.arange(len(numbers))
        own = self.sliced.merged(self.span, states, place[self.row_of], len(numbers))
        if reference is None:
            return own, None
        sliced, span = self.brute.reference(reference, self.grain, self.span, self.slice_by)
        there = np.full(len(sliced.keys), -1)
        for key, row in self.row_of_key.items():
            if (code := sliced.code_of.get(key)) is not None:
                there[code] = place[row]
        return own, sliced.merged(span, states, there, len(numbers))

    def _recomputed(self, sli: Sli, own: Merged, other: Merged | None) -> dict[str, Floats]:
        """The value of each row and both ends of its interval, by their columns."""
        values = values_of(sli.formula, own, other)
        large = own.predictions >= (self.brute.config.min_support if self.slice_by else 0)
        ends = {"value": values.value, "ci_low": values.low, "ci_high": values.high}
        return {name: np.where(large, numbers, np.nan) for name, numbers in ends.items()}


def _may_round(sli: Sli) -> bool:
    """Whether a state of an SLI rounds values, so that its interval moves a little even where its value does not."""
    return any(isinstance(state, ListState) for state in sli.formula.states.values())


def _differing(published: pd.DataFrame, recomputed: Mapping[str, Floats], may_round: bool) -> Iterator[tuple[int, str]]:
    """What differs between published columns and those of the same rows: the place of the row, and the text."""
    bound = np.nan_to_num(published.error_bound.to_numpy())
    width = np.nan_to_num(recomputed["ci_high"] - recomputed["ci_low"]) * may_round
    for name, numbers in recomputed.items():
        allowed, what = (bound, "") if name == "value" else (width / 100, f"{name} ")
        shown = published[name].to_numpy()
        apart = ~np.isnan(numbers) & (np.abs(shown - numbers) > TOLERANCE * np.abs(numbers) + 1e-12 + allowed)
        differs = (np.isnan(shown) != np.isnan(numbers)) | apart
        for i in np.flatnonzero(differs & ((name == "value") | (bound == 0))):
            yield int(i), f"{what}{shown[i]} published, {numbers[i]} recomputed"
