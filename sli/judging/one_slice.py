"""Which slice a change comes from: the whole merged again with one slice as it was before.

What a slice explains is the value now minus the value of the whole in which this slice alone has the predictions and
labels that it had in the window before. So a slice that got worse counts, and one that got larger or smaller. Limit: of
each set only the `CANDIDATES` slices with the largest weighted change are tried; the parts need not add up to the whole
change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from sli.calendar.interval import Interval, moment
from sli.engine.connection import connected
from sli.judging.sides import Change, Side, change_of, empty_side
from sli.reading.publication import Publication
from sli.reading.question import Question, Rename, question, renamed
from sli.reading.requests import rests_on_labels
from sli.rollup.evaluate import Evaluation, states_of
from sli.rollup.merge import TileTables, TileTree
from sli.rollup.reference import reference_tables
from sli.schemas import UTC
from sli.slices import ALL, OTHER, SliceBy, parse_slice, slice_text
from sli.slis import Reference, Sli
from sli.slis.formula import Values
from sli.slis.states import Integers, integers

CANDIDATES = 20


@dataclass(frozen=True, kw_only=True)
class SliceChange:
    """One slice in both windows, and its part in the change of the whole."""

    slice_by: SliceBy
    slice: Mapping[str, str | None]
    now: Side
    before: Side
    change: Change
    weight: float
    """The share of the predictions of the whole now, of the labelled ones where the SLI rests on labels."""
    explains: float
    """The value of the whole now minus its value with this slice as it was before, in the unit of the SLI."""


@dataclass(frozen=True, kw_only=True)
class _Window:
    """The states of all slices in a window, one row a slice, and those of the reference of the SLI."""

    edges: Interval
    tiles: pa.Table
    reference: pa.Table | None


@dataclass(frozen=True, kw_only=True)
class _Evaluated:
    """Values of slices in a window, one element a slice."""

    slices: Sequence[str]
    values: Values
    predictions: Integers
    labelled: Integers


class Slices:
    """The slices of one set in two windows, within a slice (empty: the whole). Raises SliError."""

    def __init__(
        self,
        publication: Publication,
        sli: Sli,
        slice_by: SliceBy,
        windows: tuple[Interval, Interval],
        within: Mapping[str, str | None],
    ) -> None:
        self.publication, self.sli, self.slice_by, self.within = publication, sli, slice_by, dict(within)
        self.config, self.states = publication.config, states_of([sli])
        self.now, self.before = self._merged(windows)

    def changes(self, now: Side, before: Side) -> list[SliceChange]:
        """The candidates, the one that explains most first; `now` and `before` are the whole."""
        present, past = (self._values(window.tiles, window.reference, window) for window in (self.now, self.before))
        labels = rests_on_labels(self.sli)
        weights, parts = _parts(present, past, before.value, labels)
        candidates = sorted(parts, key=lambda slice: (-abs(parts[slice]), slice))[:CANDIDATES]
        without = self._as_they_were(candidates)
        sides = [dict(zip(one.slices, range(len(one.slices)), strict=True)) for one in (present, past)]
        changes = []
        for slice in candidates:
            own = self._side(present, sides[0].get(slice), self.now.edges)
            earlier = self._side(past, sides[1].get(slice), self.before.edges)
            changes.append(
                SliceChange(
                    slice_by=self.slice_by,
                    slice=parse_slice(slice),
                    now=own,
                    before=earlier,
                    change=change_of(own, earlier),
                    weight=weights.get(slice, 0.0),
                    explains=now.value - without[slice],
                )
            )
        changes.sort(key=lambda one: (-abs(np.nan_to_num(one.explains)), slice_text(one.slice)))
        return changes

    def _merged(self, windows: tuple[Interval, Interval]) -> tuple[_Window, _Window]:
        """The states of each slice in both windows."""
        asked = replace(self._asked(windows[0]), rename=self._inside)
        references = [self._reference_interval(window) for window in windows]
        edges = [edge for edge in (*windows, *references) if edge is not None]
        starts, ends = (np.array([getattr(edge, name) for edge in edges]) for name in ("start", "end"))
        compared: Mapping[str, pa.Table] = {}
        if self.sli.reference is not None and self.sli.reference.kind == "table":
            compared = reference_tables(self.config, [self.sli], self.publication.inputs().predictions)
        tiles = asked.tables(self.states, [starts, ends], compared)
        with connected(self.config.parallel, self.config.task_memory) as con:
            tree = TileTree(con, tiles, self.states, self.config.tile, {})
            packed = tree.as_tiles(tree.merge(starts, ends))
        window = integers(packed.column("w"))
        tables = [packed.filter(pa.array(window == at)).drop_columns(["w"]) for at in range(len(edges))]
        table = next((one.select(tables[0].schema.names) for one in tiles.references.values()), None)
        others = [table if edge is None else tables[edges.index(edge)] for edge in references]
        group = self._grouping(tables[0], tables[1])
        grouped = [None if one is None else renamed(one, group) for one in (*tables[:2], *others)]
        now, before, with_now, with_before = grouped
        assert now is not None
        assert before is not None
        return (
            _Window(edges=windows[0], tiles=now, reference=with_now),
            _Window(edges=windows[1], tiles=before, reference=with_before),
        )

    def _asked(self, window: Interval) -> Question:
        """The question for the slices in a window."""
        edges = (None, None, moment(window.start), moment(window.end))
        return question(self.publication, edges, None, self.slice_by)

    def _inside(self, slice: str) -> str | None:
        """The slice if it is within the whole."""
        values = parse_slice(slice)
        return slice if all(values[name] == value for name, value in self.within.items()) else None

    def _reference_interval(self, window: Interval) -> Interval | None:
        """The window that an SLI compares a window with, if it compares it with one."""
        reference = self.sli.reference
        if reference is None or reference.kind == "table":
            return None
        if reference.interval is not None:
            return reference.interval
        asked = self._asked(window)
        return Interval(int(asked.grain.before(self.config.zone, asked.starts, asked.ends)[0]), window.start)

    def _grouping(self, now: pa.Table, before: pa.Table) -> Rename:
        """Which slice each becomes part of: beyond a cap, of `(other)`, by the predictions of both windows."""
        sizes: Counter[str] = Counter()
        for table in (now, before):
            counts = integers(table.column("predictions")).tolist()
            for slice, count in zip(map(str, table.column("slice").to_pylist()), counts, strict=True):
                sizes[slice] += count
        order = sorted(sizes, key=lambda slice: (-sizes[slice], slice))
        kept, rest = set(order[: self.config.caps.get(self.slice_by)]), slice_text(dict.fromkeys(self.slice_by, OTHER))
        return lambda slice: slice if slice in kept else rest

    def _values(self, tiles: pa.Table, reference: pa.Table | None, window: _Window) -> _Evaluated:
        """The value of each slice of these rows, which count as one window."""
        start, end = window.edges.start, window.edges.end
        sli, tables = self.sli, [_at(tiles, start)]
        if sli.reference is not None and reference is not None:
            # Behind the window, where nothing else is.
            sli = replace(sli, reference=Reference("window", interval=Interval(end, end + self.config.tile)))
            tables.append(_at(reference, end))
        placed = TileTables(pa.concat_tables(tables, promote_options="permissive"))
        slices: list[str] = []
        values, predictions, labelled = [], [], []
        with Evaluation(self.config, placed, [sli], {}) as evaluation:
            asked = self._asked(window.edges)
            for batch in evaluation.batches(asked.grain, asked.starts, asked.ends):
                for _, part in batch.values:
                    slices += map(str, batch.rows.slice.to_pylist())
                    values.append(part)
                    predictions.append(batch.rows.predictions)
                    labelled.append(batch.rows.labelled)
        none = np.array([], dtype=np.int64)
        return _Evaluated(
            slices=slices,
            values=Values.concatenated(values) if values else Values(*[none.astype(np.float64)] * 7),  # type: ignore[arg-type]
            predictions=np.concatenate([none, *predictions]),
            labelled=np.concatenate([none, *labelled]),
        )

    def _as_they_were(self, candidates: Sequence[str]) -> dict[str, float]:
        """The value of the whole now with each of the candidates as it was before; NaN where there is none."""
        tried = frozenset(candidates)
        now = self._packed(renamed(self.now.tiles, lambda slice: slice if slice in tried else ALL))
        rows = {slice: at for at, slice in enumerate(now.column("slice").to_pylist())}
        old = {slice: at for at, slice in enumerate(self.before.tiles.column("slice").to_pylist())}
        tables, references = [], []
        whole = None if self.now.reference is None else self._packed(renamed(self.now.reference, lambda _: ALL))
        for number, slice in enumerate(candidates):
            others = [at for name, at in rows.items() if name != slice]
            parts = [now.take(pa.array(others, pa.int64()))]
            if slice in old:
                parts.append(self.before.tiles.slice(old[slice], 1))
            tables.append(_as_slice(pa.concat_tables(parts), str(number)))
            if whole is not None:
                references.append(_as_slice(whole, str(number)))
        if not tables:
            return {}
        reference = pa.concat_tables(references) if references else None
        found = self._values(pa.concat_tables(tables), reference, self.now)
        values = dict(zip(found.slices, found.values.value.tolist(), strict=True))
        return {slice: values.get(str(number), np.nan) for number, slice in enumerate(candidates)}

    def _packed(self, tiles: pa.Table) -> pa.Table:
        """The rows of each slice merged to one."""
        states = {id: state for id, state in self.states.items() if id in tiles.schema.names}
        with connected(self.config.parallel, self.config.task_memory) as con:
            tree = TileTree(con, TileTables(_at(tiles, 0)), states, self.config.tile, {})
            merged = tree.merge(np.array([0]), np.array([self.config.tile]), disjoint=True)
            return tree.as_tiles(merged).select(tiles.schema.names)

    def _side(self, found: _Evaluated, at: int | None, window: Interval) -> Side:
        """The side of a slice; without predictions in the window if `at` is None."""
        side = empty_side(self.publication, window)
        if at is None:
            return side
        names = [field.name for field in fields(Values)]
        one = Values(*(getattr(found.values, name)[at : at + 1] for name in names))
        objective = self.sli.objective
        return replace(
            side,
            value=float(one.value[0]),
            reason=one.reason[0],
            low=float(one.low[0]),
            high=float(one.high[0]),
            missing_low=float(one.missing_low[0]),
            missing_high=float(one.missing_high[0]),
            predictions=int(found.predictions[at]),
            labelled=int(found.labelled[at]),
            verdict=None if objective is None or np.isnan(one.value[0]) else str(objective.verdicts(one)[0]),
        )


def _parts(
    now: _Evaluated, before: _Evaluated, whole: float, labels: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """The weight of each slice now, and about what it adds to the change of the whole.

    That is w1 (v1 - whole) - w0 (v0 - whole), with its weights w and values v: exact where the whole is the mean of its
    slices, and else good enough to choose the candidates.
    """
    weights: dict[str, float] = {}
    parts: dict[str, float] = {}
    for sign, side in ((1.0, now), (-1.0, before)):
        counts = side.labelled if labels else side.predictions
        shares = counts / max(int(counts.sum()), 1)
        terms = np.nan_to_num(shares * (side.values.value - whole))
        for slice, share, term in zip(side.slices, shares.tolist(), terms.tolist(), strict=True):
            if sign > 0:
                weights[slice] = share
            parts[slice] = parts.get(slice, 0.0) + sign * term
    return weights, parts


def _at(tiles: pa.Table, start: int) -> pa.Table:
    """The rows as tiles that start at an instant."""
    starts = pa.array([start] * len(tiles), pa.int64()).cast(UTC)
    return tiles.append_column("span", pa.array(["tile"] * len(tiles), pa.string())).append_column("start", starts)


def _as_slice(tiles: pa.Table, name: str) -> pa.Table:
    """The rows as those of one slice, which like the whole needs no support."""
    for column, text in (("slice", name), ("slice_by", "")):
        at = tiles.schema.get_field_index(column)
        tiles = tiles.set_column(at, column, pa.array([text] * len(tiles), pa.string()))
    return tiles
