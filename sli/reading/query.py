"""Values over any windows and slices, merged from stored tiles: whole days, and hours at the edges.

It reads no logs and writes nothing. Limit: it knows only what the last run published; Python functions see samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.duration import Duration
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.arrow import ChunkedColumn, Column
from sli.errors import ConfigError
from sli.planning.needs import RECOMPUTE, lacks_any
from sli.planning.stages import windows_resting_on
from sli.publishing.rows import decode_texts, stored_rows, to_pandas
from sli.reading.publication import opened
from sli.reading.question import Question, question
from sli.rollup.evaluate import Evaluation, states_of
from sli.rollup.reference import reference_tables
from sli.rollup.results import NOTHING, results
from sli.slis import Sli
from sli.slis.kinds.lists import ListState

Order = list[tuple[str, Literal["ascending", "descending"]]]


def query(
    config: str | Path | Config,
    sli: str | Sequence[str],
    *,
    size: str | Duration | None = None,
    every: str | Duration | None = None,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """Values over any windows as a DataFrame, ordered by SLI, slice and window; the columns are those of `sli.read`.

    `size` is the length of a window, for example `7d` (default: one window from `start` to `end`), `every` the distance
    from one start to the next (default: `size`). The first window starts at `start` (default: the config's `since`),
    the last one ends at `end` or earlier (default: the end of the newest hour). Whole days are calendar days of the
    config's zone.
    `slice` chooses one slice (`{}`: all predictions together, also the default), `slice_by` all slices by these
    columns; the config must have them under `slice_by`. `sli` names SLIs of the config, or built-in ones whose states
    the tiles have because other SLIs need them. `settings` override keys of the config, each `KEY=VALUE`.

    `as_of` merges the tiles that were believed at that time, so that a window which was published then has the value
    that `sli.read` gives for the same `as_of`; the newest hour is the newest of then. Raises SliError, also for an
    `as_of` before the first run, and where no tiles of then exist: a run with an older as_of than what was published
    keeps none.

    >>> import sli
    >>> whole = sli.query(config, "accuracy")
    >>> len(whole), bool(whole.missing_low.iloc[0] <= whole.value.iloc[0] <= whole.missing_high.iloc[0])
    (1, True)
    """
    names = [sli] if isinstance(sli, str) else list(sli)
    publication = opened(load_config(config, settings), as_of)
    slis = [publication.sli(name) for name in names]
    return answer(question(publication, (size, every, start, end), slice, slice_by), slis)


def distribution(
    config: str | Path | Config,
    sli: str,
    *,
    size: str | Duration | None = None,
    every: str | Duration | None = None,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How often each value occurs, for an SLI that keeps them: a quantile, the share of the most common value, ...

    Columns: window_start, window_end, slice_by, slice, value (a number, or the text of a category) and count; ordered
    by slice and window, the most common value first. The arguments choose windows and slices as in `query`. Numbers
    are exact in a window of at most EXACT_ROWS predictions, and rounded to 10 significant bits in larger ones. `as_of`
    merges the tiles that were believed at that time. Raises SliError.

    >>> import sli
    >>> scores = sli.distribution(config, "score_p90")
    >>> list(scores.columns)
    ['window_start', 'window_end', 'slice_by', 'slice', 'value', 'count']
    >>> scores["count"].is_monotonic_decreasing
    True
    """
    publication = opened(load_config(config, settings), as_of)
    chosen = publication.sli(sli)
    asked = question(publication, (size, every, start, end), slice, slice_by)
    states = [state for state in chosen.formula.states.values() if isinstance(state, ListState) and state.keyed]
    if not states:
        raise ConfigError(
            f"'{sli}' keeps no values",
            where="SLI",
            expected="one that does, for example quantile or roc_auc",
        )
    with _evaluation(asked, [chosen]) as evaluation:
        windows, elements = evaluation.distribution(states[0], asked.grain, asked.starts, asked.ends)
    owner = elements.rows
    positions = pa.array(owner, pa.int64())
    columns: dict[str, Column | ChunkedColumn] = {
        "window_start": pa.array(asked.starts[windows.window][owner], pa.int64()),
        "window_end": pa.array(asked.ends[windows.window][owner], pa.int64()),
        "slice_by": windows.slice_by.take(positions),
        "slice": windows.slice.take(positions),
        "value": pa.array(elements.keys),
        "count": pa.array(elements.counts, pa.int64()),
    }
    table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    keys = ("slice", "window_end", "window_start", "count", "value")
    order: Order = [(name, "descending" if name == "count" else "ascending") for name in keys]
    return to_pandas(stored_rows(_of_slice(table, asked.slice).sort_by(order)))


def answer(asked: Question, slis: Sequence[Sli]) -> pd.DataFrame:
    """The values of SLIs in the windows of a question, as `query` returns them. Raises SliError."""
    return to_pandas(answer_rows(asked, slis))


def answer_rows(asked: Question, slis: Sequence[Sli]) -> pa.Table:
    """The rows of `answer` as the table of results has them."""
    published = asked.published
    with _evaluation(asked, slis) as evaluation:
        rows = [
            _without_incomplete(asked, part_sli, decode_texts(part))
            for batch in evaluation.batches(asked.grain, asked.starts, asked.ends)
            for part_sli, part in results(asked.config, asked.grain, batch, published.as_of)
        ]
    table = _of_slice(decode_texts(pa.concat_tables(rows or [NOTHING])), asked.slice)
    table = table.append_column("model", pa.repeat(asked.config.model, len(table)))
    table = table.append_column("as_of", pa.repeat(published.as_of, len(table)))
    table = table.append_column("run_id", pa.repeat(published.run_id, len(table)))
    order: Order = [(name, "ascending") for name in ("sli", "slice", "window_end", "window_start")]
    return stored_rows(table.sort_by(order).select([name for name, _ in schemas.RESULT]))


def _of_slice(rows: pa.Table, slice: str | None) -> pa.Table:
    """The rows of the slice with this text, or all rows if it is None."""
    return rows if slice is None else rows.filter(pc.equal(rows.column("slice"), pa.scalar(slice)))


def _evaluation(question: Question, slis: Sequence[Sli]) -> Evaluation:
    """Reads the tiles of the windows and of the references that they are compared with."""
    references = [sli.reference for sli in slis if sli.reference is not None]
    compared = []
    if any(reference.kind == "previous" for reference in references):
        compared.append(question.grain.before(question.config.zone, question.starts, question.ends))
    for reference in references:
        if reference.interval is not None:
            compared.append(np.array([reference.interval.start, reference.interval.end], dtype=np.int64))
    tables = {}
    if any(reference.kind == "table" for reference in references):
        tables = reference_tables(question.config, slis, question.publication.inputs().predictions)
    return Evaluation(question.config, question.tables(states_of(slis), compared, tables), slis, question.caps)


def _without_incomplete(asked: Question, sli: Sli, rows: pa.Table) -> pa.Table:
    """The rows. Where a window contains tiles still to be computed, the value is null and the reason says so."""
    published = asked.published
    starts, ends = (rows.column(name).to_numpy() for name in ("window_start", "window_end"))
    intervals = published.needs.of(RECOMPUTE, *lacks_any(sli))
    incomplete = windows_resting_on(asked.config.zone, asked.grain, starts, ends, intervals, sli.reference)
    if not incomplete.any():
        return rows
    mask = pa.array(incomplete)
    for name in ("value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound", "verdict", "reason"):
        at, column = rows.schema.get_field_index(name), rows.column(name)
        text = "holds hours still to be computed" if name == "reason" else None
        rows = rows.set_column(at, name, pc.if_else(mask, pa.scalar(text, column.type), column))
    return rows
