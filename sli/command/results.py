"""What `show` prints of results: on a terminal trends, a chart and a table, in a pipe a line for each window and slice.

Limit: several SLIs over several slices are told by those with an objective, unless they are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sli.calendar.grain import TUMBLING
from sli.command.chart import Drawn, chart
from sli.command.grid import Column, columns, lines, printed, shortened
from sli.command.trends import SLICES, Trend, chosen, trend_lines, trends, value_line
from sli.config.model import Config
from sli.reading.figures import Row, counted, local, number, rows_of, slice_name, window_name
from sli.slices import OTHER, SliceBy
from sli.slis import Sli
from sli.slis.formula import Unit

if TYPE_CHECKING:
    import pandas as pd

ROWS = 14
"""Windows, or rows, in a table, unless asked otherwise."""
NAMED = 3
"""Most SLIs that are shown by slice without being named."""


def newest(frame: pd.DataFrame, windows: int) -> pd.DataFrame:
    """The rows of the newest windows."""
    ends = sorted(frame.window_end.unique())
    return frame[frame.window_end.isin(ends[max(0, len(ends) - windows) :])]


def plain_lines(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int) -> list[str]:
    """The results for a pipe: a header, a line for each window and slice, then notes, each after `# `.

    Columns are two blanks or more apart, and no cell is empty.
    """
    frame = frame.assign(name=frame["slice"].map(slice_name))
    table = _values(newest(frame, rows), config, slis, verdicts=True)
    filled = [Column(column.name, [cell or "-" for cell in column.cells], column.left) for column in table]
    return [*lines(filled, None), *(f"# {note}" for note in _notes(frame, config.caps, signs=False))]


def view_lines(
    frame: pd.DataFrame, config: Config, slis: Sequence[str], width: int, *, named: bool, rows: int | None
) -> list[str]:
    """The results for a terminal: trends and, of one slice, a chart; with `rows` a table of the newest windows too.

    `named`: the SLIs were named, so each is shown.
    """
    frame = frame.assign(name=frame["slice"].map(slice_name))
    declared = {sli.name: sli for sli in config.declared}
    told = list(slis)
    if frame.name.nunique() == 1:
        drawn = slis[:1] if named or len(slis) == 1 else ()
        view = [
            line for sli in drawn for line in chart_lines(frame[frame.sli == sli], config, declared.get(sli), width)
        ]
        if len(slis) > 1:
            view += [*([""] if view else []), *_sli_lines(frame, config, slis, width)]
        hints = [] if drawn else ["--sli NAME draws one of them; --rows N lists its newest windows"]
    else:
        if not named:
            required = [name for name in slis if name in declared and declared[name].objective]
            told = required[:NAMED] or told[:1]
        view = [line for sli in told for line in slice_lines(frame[frame.sli == sli], config, declared.get(sli), width)]
        others = [name for name in slis if name not in told]
        hints = [f"--sli NAME shows another: {', '.join(others)}"] if others else []
    notes = [*hints, *_notes(frame, config.caps, signs=rows is not None)]
    if rows is not None:
        better = declared[told[0]].direction if told[0] in declared else None
        shown = [trend.name for trend in chosen(trends(frame[frame.sli == told[0]]), better)]
        table = _values(newest(frame[frame.name.isin(shown)], rows), config, slis, verdicts=False)
        view += ["", *lines(table, width, keys=2)]
    return [*view, *(shortened(note, width) for note in notes)]


def picture_lines(frame: pd.DataFrame, config: Config, name: str, width: int) -> list[str]:
    """One SLI over time: a chart of one slice, or a line for each of several."""
    declared = {sli.name: sli for sli in config.declared}
    draw = chart_lines if frame["slice"].map(slice_name).nunique() == 1 else slice_lines
    return draw(frame, config, declared.get(name), width)


def chart_lines(frame: pd.DataFrame, config: Config, sli: Sli | None, width: int) -> list[str]:
    """One SLI of one slice over time: a heading, its newest value, and the chart."""
    if frame.empty:
        return []
    [trend] = trends(frame.assign(name=frame["slice"].map(slice_name)))
    row = trend.newest
    heading = f"{config.model}: {row.sli}, {row.grain}, {trend.name}"
    value = value_line(
        Trend(window_name(row, config.timezone), trend.rows), config.units.get(row.sli, ""), config.timezone
    )
    drawn = drawn_of(config, sli, row.sli)
    return [shortened(printed(heading), width), value, *chart(frame, drawn, width)]


def drawn_of(config: Config, sli: Sli | None, name: str) -> Drawn:
    """How values of an SLI are drawn; None: one that the config does not declare."""
    from sli.judging.standing import bound_text  # not at the top: `query` needs only `newest`

    unit = config.units.get(name, "")
    objective = sli.objective if sli is not None else None
    if objective is None:
        return Drawn(unit=unit, timezone=config.timezone, level=config.level)
    words = bound_text(objective.text, unit)
    return Drawn(
        unit=unit, timezone=config.timezone, level=config.level, objective=words, bound=float(objective.parts[1])
    )


def slice_lines(frame: pd.DataFrame, config: Config, sli: Sli | None, width: int) -> list[str]:
    """One SLI over several slices: a heading and a line for each of at most `SLICES`."""
    if frame.empty:
        return []
    from sli.judging.standing import bound_text

    better = sli.direction if sli is not None else None
    every = trends(frame.assign(name=frame["slice"].map(slice_name)))
    shown = chosen(every, better)
    row = max((trend.newest for trend in every), key=lambda row: row.window_end)
    parts = [f"{config.model}: {row.sli}, {row.grain}", window_name(row, config.timezone)]
    if sli is not None and sli.objective is not None:
        parts.append(bound_text(sli.objective.text, sli.unit))
    if len(every) > len(shown):
        half = f"the {SLICES // 2} worst and the {SLICES // 2} largest others" if better else "the largest"
        parts.append(f"{half} of {counted(len(every), 'slice')}")
    parts.append("worst first" if better else "largest first")
    lines = trend_lines(shown, config.units, config.timezone, width)
    return [shortened(printed(", ".join(parts)), width), *lines]


def _sli_lines(frame: pd.DataFrame, config: Config, slis: Sequence[str], width: int) -> list[str]:
    """Several SLIs of one slice: a heading and a line for each."""
    by_sli = {trend.name: trend for trend in trends(frame, "sli")}
    shown = [by_sli[sli] for sli in slis if sli in by_sli]
    row = max((trend.newest for trend in shown), key=lambda row: row.window_end)
    heading = f"{config.model}: {row.grain} {window_name(row, config.timezone)}, {slice_name(row.slice)}"
    lines = trend_lines(shown, config.units, config.timezone, width, one_scale=False)
    return [shortened(printed(heading), width), *lines]


def rest_note(frame: pd.DataFrame, caps: Mapping[SliceBy, int]) -> list[str]:
    """What `(other)` means, if it is shown."""
    tops = {caps.get(tuple(slice), 0) for slice in frame["slice"] if OTHER in slice.values()} - {0}
    return [f"{OTHER}: all slices of a window but its {' or '.join(map(str, sorted(tops)))} largest"] if tops else []


def _notes(frame: pd.DataFrame, caps: Mapping[SliceBy, int], *, signs: bool) -> list[str]:
    """What needs an explanation: `(other)`, approximate values and, with `signs`, those of verdicts."""
    notes = rest_note(frame, caps)
    if signs and frame.objective.notna().any():
        notes.append("objective ok: met, !!: breached, ?: undecided")
    if (frame.error_bound > 0).any():
        notes.append(f"~: approximate, off by at most {frame.error_bound.max():.2g}")
    return ["; ".join(notes)] if notes else []


def _values(frame: pd.DataFrame, config: Config, slis: Sequence[str], *, verdicts: bool) -> list[Column]:
    """One line for each window and slice, one column for each SLI, then coverage and maturity.

    With `verdicts` those are words in columns of their own, else signs after the values.
    """
    if frame.empty:
        return columns(("window", "slice", *slis, "predictions", "coverage", "maturity"), [])
    grain = str(frame.grain.iloc[0])
    required = [name for name in slis if frame[frame.sli == name].objective.notna().any()] if verdicts else []
    names = ["window" if grain in TUMBLING else "until", "slice"]
    for sli in slis:
        names += [sli, *[f"{sli} verdict"] * (sli in required)]
    groups: dict[tuple[object, str], dict[str, Row]] = {}
    for row, name in zip(rows_of(frame), frame.name, strict=True):
        groups.setdefault((row.window_end, str(name)), {})[row.sli] = row
    texts = []
    for (_, name), by_sli in sorted(groups.items()):
        row = next(iter(by_sli.values()))
        when = local(row.window_start if grain in TUMBLING else row.window_end, config.timezone, grain)
        cells = []
        for sli in slis:
            value = by_sli.get(sli)
            cells.append(value_cell(value, config.units.get(sli, ""), sign=not verdicts))
            cells += [_word(value)] * (sli in required)
        texts.append((when, name, *cells, f"{row.predictions:,}", f"{row.coverage:.1%}", row.maturity))
    left = ("slice", "maturity", *(f"{name} verdict" for name in required))
    return columns((*names, "predictions", "coverage", "maturity"), texts, whole=names[:1], left=left)


def _word(row: Row | None) -> str:
    """The verdict; of no value there is none."""
    return row.verdict if row is not None and isinstance(row.verdict, str) and not np.isnan(row.value) else ""


def value_cell(row: Row | None, unit: Unit, *, sign: bool = True) -> str:
    """A value with `~` before it if it is approximate, and with `sign` that of its verdict after it."""
    if row is None:
        return ""
    mark = {"met": " ok", "breached": " !!", "undecided": " ?"}.get(_word(row), "") if sign else ""
    unknown_error = np.isnan(row.error_bound) and not np.isnan(row.value)
    approximate = "~" if unknown_error or row.error_bound > 0 else ""
    return approximate + number(row.value, row.reason, unit) + mark
