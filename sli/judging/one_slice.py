"""Which slice a change comes from: the whole merged again with one slice as it was before.

What a slice explains is the value now minus the value of the whole in which this slice alone has the predictions and
labels that it had in the window before. So a slice that got worse counts, and one that got larger or smaller. Limit: of
each set only the `CANDIDATES` slices with the largest weighted change are tried; the parts need not add up to the whole
change.
"""

from __future__ import annotations

import functools
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
from sli.rollup.evaluate import Evaluation, states_of
from sli.rollup.merge import TileTables, TileTree
from sli.rollup.reference import reference_tables
from sli.schemas import UTC
from sli.slices import ALL, OTHER, SliceBy, parse_slice, slice_text
from sli.slis import Reference, Sli
from sli.slis.formula import Values
from sli.slis.states import Integers, integers
from sli.slis.terms import rests_on_labels

CANDIDATES = 20
TOGETHER = 2 * CANDIDATES
"""Most slices that are tried together: each is tried with the rows of all others."""


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
    """The states of all slices in a window, one row a slice, and those of each reference of the SLIs."""

    edges: Interval
    tiles: pa.Table
    references: Mapping[Reference, pa.Table]


@dataclass(frozen=True, kw_only=True)
class _Evaluated:
    """Values of each SLI in the slices of a window, one element a slice."""

    slices: Sequence[str]
    values: Sequence[Values]
    predictions: Integers
    labelled: Integers

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """Where each slice is."""
        return {slice: at for at, slice in enumerate(self.slices)}


class Slices:
    """The slices of one set in two windows, within a slice (empty: the whole), merged once for all SLIs."""

    def __init__(
        self,
        publication: Publication,
        slis: Sequence[Sli],
        slice_by: SliceBy,
        windows: tuple[Interval, Interval],
        within: Mapping[str, str | None],
    ) -> None:
        self.publication, self.slis, self.slice_by, self.within = publication, slis, slice_by, dict(within)
        self.config, self.states = publication.config, states_of(slis)
        self.now, self.before = self._merged(windows)

    def changes(self, now: Sequence[Side], before: Sequence[Side]) -> list[list[SliceChange]]:
        """Of each SLI the candidates, the one that explains most first; `now` and `before` are the whole."""
        present, past = (self._values(self.slis, one.tiles, one.references, one) for one in (self.now, self.before))
        parts = [
            _parts(present, past, number, before[number].value, rests_on_labels(sli.formula))
            for number, sli in enumerate(self.slis)
        ]
        candidates = [sorted(terms, key=lambda slice: (-abs(terms[slice]), slice))[:CANDIDATES] for _, terms in parts]
        without = self._as_they_were(candidates)
        changes = []
        for number, (weights, _) in enumerate(parts):
            of_sli = []
            for slice in candidates[number]:
                own = self._side(present, number, slice, self.now.edges)
                earlier = self._side(past, number, slice, self.before.edges)
                of_sli.append(
                    SliceChange(
                        slice_by=self.slice_by,
                        slice=parse_slice(slice),
                        now=own,
                        before=earlier,
                        change=change_of(own, earlier),
                        weight=weights.get(slice, 0.0),
                        explains=now[number].value - without[number][slice],
                    )
                )
            of_sli.sort(key=lambda one: (-abs(np.nan_to_num(one.explains)), slice_text(one.slice)))
            changes.append(of_sli)
        return changes

    def _merged(self, windows: tuple[Interval, Interval]) -> tuple[_Window, _Window]:
        """The states of each slice in both windows."""
        asked = replace(self._asked(windows[0]), rename=self._inside)
        compared = {sli.reference for sli in self.slis if sli.reference is not None}
        intervals = [{one: self._compared_interval(one, window) for one in compared} for window in windows]
        edges = [*dict.fromkeys([*windows, *(edge for of in intervals for edge in of.values() if edge is not None)])]
        starts, ends = (np.array([getattr(edge, name) for edge in edges]) for name in ("start", "end"))
        given: Mapping[str, pa.Table] = {}
        if any(reference.kind == "table" for reference in compared):
            given = reference_tables(self.config, self.slis, self.publication.inputs().predictions)
        tiles = asked.tables(self.states, [starts, ends], given)
        with connected(self.config.parallel, self.config.task_memory) as con:
            tree = TileTree(con, tiles, self.states, self.config.tile, {})
            packed = tree.as_tiles(tree.merge(starts, ends))
        window, names = integers(packed.column("w")), [name for name in packed.schema.names if name != "w"]
        tables = {edge: packed.filter(pa.array(window == at)).select(names) for at, edge in enumerate(edges)}
        given = {
            path: table.select([name for name in names if name in table.schema.names])
            for path, table in tiles.references.items()
        }
        group = self._grouping(*(tables[edge] for edge in windows))
        now, before = (
            _Window(
                edges=edge,
                tiles=renamed(tables[edge], group),
                references={
                    one: renamed(given[one.path] if other is None else tables[other], group)
                    for one, other in of.items()
                },
            )
            for edge, of in zip(windows, intervals, strict=True)
        )
        return now, before

    def _asked(self, window: Interval) -> Question:
        """The question for the slices in a window."""
        edges = (None, None, moment(window.start), moment(window.end))
        return question(self.publication, edges, None, self.slice_by)

    def _inside(self, slice: str) -> str | None:
        """The slice if it is within the whole."""
        values = parse_slice(slice)
        return slice if all(values[name] == value for name, value in self.within.items()) else None

    def _compared_interval(self, reference: Reference, window: Interval) -> Interval | None:
        """The window that a reference is for a window; None if it is a table."""
        if reference.kind == "table":
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

    def _values(
        self, slis: Sequence[Sli], tiles: pa.Table, references: Mapping[Reference, pa.Table], window: _Window
    ) -> _Evaluated:
        """The value of each SLI in each slice of these rows, which count as one window."""
        edges, tables = window.edges, [_at(tiles, window.edges.start)]
        behind = {}
        for number, (reference, table) in enumerate(references.items()):
            # Behind the window, where nothing else is.
            start = edges.end + number * self.config.tile
            behind[reference] = Reference("window", interval=Interval(start, start + self.config.tile))
            tables.append(_at(table, start))
        placed = TileTables(pa.concat_tables(tables, promote_options="permissive"))
        slis = [sli if sli.reference is None else replace(sli, reference=behind[sli.reference]) for sli in slis]
        slices: list[str] = []
        none = np.array([], dtype=np.int64)
        empty = Values(*[none.astype(np.float64)] * 7)  # type: ignore[arg-type]
        values: list[list[Values]] = [[empty] for _ in slis]
        predictions, labelled = [none], [none]
        with Evaluation(self.config, placed, slis, {}) as evaluation:
            asked = self._asked(edges)
            for batch in evaluation.batches(asked.grain, asked.starts, asked.ends):
                slices += map(str, batch.rows.slice.to_pylist())
                predictions.append(batch.rows.predictions)
                labelled.append(batch.rows.labelled)
                for of_sli, (_, part) in zip(values, batch.values, strict=False):
                    of_sli.append(part)
        return _Evaluated(
            slices=slices,
            values=[Values.concatenated(of_sli) for of_sli in values],
            predictions=np.concatenate(predictions),
            labelled=np.concatenate(labelled),
        )

    def _as_they_were(self, candidates: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """Of each SLI its value in the whole now with each of its candidates as it was before; NaN if there is none.

        SLIs with much the same candidates are merged together.
        """
        together: list[tuple[set[str], list[int]]] = []
        for number, tried in enumerate(candidates):
            for union, numbers in together:
                if len(union | {*tried}) <= TOGETHER:
                    union |= {*tried}
                    numbers.append(number)
                    break
            else:
                together.append(({*tried}, [number]))
        found: dict[int, dict[str, float]] = {}
        for union, numbers in together:
            found |= zip(numbers, self._swapped(sorted(union), [self.slis[number] for number in numbers]), strict=True)
        return [found[number] for number in range(len(candidates))]

    def _swapped(self, candidates: Sequence[str], slis: Sequence[Sli]) -> list[dict[str, float]]:
        """The value of each of these SLIs in the whole now with each candidate as it was before."""
        if not candidates:
            return [{} for _ in slis]
        tried, states = frozenset(candidates), states_of(slis)
        columns = [name for name in self.now.tiles.schema.names if name not in self.states or name in states]
        now = self._packed(renamed(self.now.tiles.select(columns), lambda slice: slice if slice in tried else ALL))
        rows = {slice: at for at, slice in enumerate(now.column("slice").to_pylist())}
        past = self.before.tiles.select(columns)
        old = {slice: at for at, slice in enumerate(past.column("slice").to_pylist())}
        tables = []
        for number, slice in enumerate(candidates):
            others = [at for name, at in rows.items() if name != slice]
            parts = [now.take(pa.array(others, pa.int64()))]
            if slice in old:
                parts.append(past.slice(old[slice], 1))
            tables.append(_as_slice(pa.concat_tables(parts), str(number)))
        references = {}
        for reference in {sli.reference for sli in slis if sli.reference is not None}:
            table = self.now.references[reference]
            whole = self._packed(renamed(table.select([c for c in columns if c in table.schema.names]), lambda _: ALL))
            references[reference] = pa.concat_tables([_as_slice(whole, str(at)) for at in range(len(candidates))])
        found = self._values(slis, pa.concat_tables(tables), references, self.now)
        places = [found.places.get(str(number)) for number in range(len(candidates))]
        return [
            {
                slice: np.nan if at is None else float(values.value[at])
                for slice, at in zip(candidates, places, strict=True)
            }
            for values in found.values
        ]

    def _packed(self, tiles: pa.Table) -> pa.Table:
        """The rows of each slice merged to one."""
        states = {id: state for id, state in self.states.items() if id in tiles.schema.names}
        with connected(self.config.parallel, self.config.task_memory) as con:
            tree = TileTree(con, TileTables(_at(tiles, 0)), states, self.config.tile, {})
            merged = tree.merge(np.array([0]), np.array([self.config.tile]))
            return tree.as_tiles(merged).select(tiles.schema.names)

    def _side(self, found: _Evaluated, number: int, slice: str, window: Interval) -> Side:
        """The side of a slice, for an SLI by its number; without predictions in the window if it is not there."""
        side, at = empty_side(self.publication, window), found.places.get(slice)
        if at is None:
            return side
        names = [field.name for field in fields(Values)]
        one = Values(*(getattr(found.values[number], name)[at : at + 1] for name in names))
        objective = self.slis[number].objective
        return replace(
            side,
            **{name: getattr(one, name).item() for name in ("value", "low", "high", "missing_low", "missing_high")},
            reason=one.reason[0],
            predictions=int(found.predictions[at]),
            labelled=int(found.labelled[at]),
            verdict=None if objective is None or np.isnan(one.value[0]) else str(objective.verdicts(one)[0]),
        )


def _parts(
    now: _Evaluated, before: _Evaluated, number: int, whole: float, labels: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """The weight of each slice now, and about what it adds to the change of the whole, of an SLI by its number.

    That is w1 (v1 - whole) - w0 (v0 - whole), with its weights w and values v: exact where the whole is the mean of its
    slices, and else good enough to choose the candidates.
    """
    weights: dict[str, float] = {}
    parts: dict[str, float] = {}
    for sign, side in ((1.0, now), (-1.0, before)):
        counts = side.labelled if labels else side.predictions
        shares = counts / max(int(counts.sum()), 1)
        terms = np.nan_to_num(shares * (side.values[number].value - whole))
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
