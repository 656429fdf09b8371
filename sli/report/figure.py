"""One SLI over time as a figure of matplotlib, for notebooks and papers.

It draws what the tables say and no more: the line breaks where a window is missing or has no value, what is provisional
is drawn apart, and below the line is how much is labelled. Limit: at most `SLICES` slices, the largest.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd

from sli.calendar.grain import TUMBLING
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, SliError, check_known
from sli.judging.standing import bound_text
from sli.reading.figures import counted, number
from sli.reading.query import query
from sli.reading.read import read
from sli.report.lines import INK, SOFT, Series, all_series, draw_coverage, draw_line, draw_series
from sli.slis.formula import Objective, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, which people with any colour vision tell apart; without yellow, which is too pale for a line."""
MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""The points of each slice, so that not only the colour tells them apart."""
SLICES = len(COLOURS)
NO_UNIT: Unit = ""
PALE = "#eeeeee"
WIDTH, HEIGHT, DPI = 9.0, 4.6, 144
DENSE = 260
"""With more windows than this points are drawn without a line, which would be a wall of ink."""


def plot(
    source: str | Path | Config | pd.DataFrame,
    sli: str | None = None,
    *,
    grain: str | None = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    start: When = None,
    end: When = None,
    as_of: When = None,
    timezone: str | None = None,
) -> Figure:
    """A figure of one SLI over time, of one slice or several. Needs the extra `plot`.

    `source` is a config, whose results are read, or a frame of `sli.read` or `sli.query`. `sli` may be left out if
    there is one. `grain` (default: days), `slice` (default: all predictions together), `slice_by`, `start`, `end` and
    `as_of` choose rows as in `sli.read`. Times are shown in `timezone` (default: that of the config; of a frame UTC).

    Solid line: final values; dashed line, hollow points and a hatched ground: provisional ones; band: the interval;
    dashed level: the objective, and a cross on each value that breaches it; ticks at the bottom: windows without a
    value. The strip below is the coverage. Of too many windows only the points are drawn, with a line of 7-day windows
    merged from the tiles of a config. The figure is matplotlib's: change its axes, or save it by `savefig`.

    Raises SliError, also if there is nothing to draw.

    >>> import sli
    >>> figure = sli.plot(config, "accuracy")
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['accuracy', 'labelled']
    """
    try:
        import matplotlib  # noqa: F401 - only to say that it is missing
    except ModuleNotFoundError as error:
        raise ConfigError("sli.plot needs the package matplotlib", todo="pip install 'sli-recompute[plot]'") from error
    chosen = {"grain": grain, "slice": slice, "slice_by": slice_by, "start": start, "end": end, "as_of": as_of}
    if isinstance(source, pd.DataFrame):
        given = [name for name, value in chosen.items() if value is not None]
        if given:
            raise ConfigError(
                "a frame is drawn whole", where="plot", found=", ".join(given), todo="choose its rows before"
            )
        frame, unit, model, longer = source, NO_UNIT, "", None
        name = _only(sli, frame["sli"].unique().tolist())
    else:
        config = load_config(source)
        name = _only(sli, [declared.name for declared in config.declared])
        if slice is None and slice_by is None:
            chosen["slice_by"] = () if () in config.slice_sets else config.slice_sets[0]
        names = [declared.name for declared in config.all_grains]
        chosen["grain"] = grain or ("day" if "day" in names else names[0])
        frame = read(config, sli=name, **chosen)  # type: ignore[arg-type]
        unit, model = config.units.get(name, NO_UNIT), config.model
        timezone, longer = timezone or config.timezone, functools.partial(_longer, config, name, chosen)
    return _figure(frame[frame["sli"] == name], name, unit, model, timezone or "UTC", longer)


def _longer(config: Config, name: str, chosen: Mapping[str, Any]) -> pd.DataFrame | None:
    """Windows of seven days over the same time, merged from tiles; None if the tiles cannot say."""
    same = {key: chosen[key] for key in ("slice", "slice_by", "end", "as_of")}
    try:
        return query(config, name, size="7d", every="1d", start=chosen["start"], **same)
    except SliError:
        return None


def _only(sli: str | None, names: Sequence[str]) -> str:
    """The SLI to draw. Raises ConfigError."""
    if sli is None and len(names) == 1:
        return names[0]
    check_known(f"there is no SLI '{sli}'" if sli else "which SLI?", sli, names, where="sli", nothing="rows of an SLI")
    return str(sli)


def _figure(
    frame: pd.DataFrame,
    name: str,
    unit: Unit,
    model: str,
    timezone: str,
    longer: Callable[[], pd.DataFrame | None] | None,
) -> Figure:
    """The figure of the rows of one SLI. Raises ConfigError if there are none, or of several grains."""
    if frame.empty:
        raise ConfigError(f"there is nothing to draw of '{name}'", where="plot", todo="choose other windows or slices")
    grains = frame["grain"].unique().tolist()
    if len(grains) > 1:
        raise ConfigError("a figure has one grain", where="grain", found=", ".join(grains), todo="choose one of them")
    zone = ZoneInfo(timezone)
    every = all_series(frame, zone)
    shown = sorted(sorted(every, key=lambda one: -one.column("predictions").sum())[:SLICES], key=lambda one: one.name)
    figure = new_figure()
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    dense = grains[0] in TUMBLING and max(len(one.rows) for one in shown) > DENSE
    merged = longer() if dense and longer is not None else None
    if merged is not None and not merged.empty:
        by_name = {one.name: one for one in all_series(merged, zone)}
        for one, colour in zip(shown, COLOURS, strict=False):
            if one.name in by_name:
                draw_line(axes, by_name[one.name], colour, above=True)
    for one, colour, mark in zip(shown, COLOURS, MARKS, strict=False):
        draw_series(axes, one, colour, mark, dense)
        draw_coverage(strip, one, colour, alone=len(shown) == 1)
    _provisional_ground(axes, strip, shown)
    _objective(axes, frame, unit)
    _head(axes, shown, len(every), (name, grains[0], model), _dense_note(dense, merged))
    _finish(axes, strip, name, unit, zone, min(one.at[0] for one in shown), max(one.at[-1] for one in shown))
    return figure


def new_figure() -> Figure:
    """An empty figure that a notebook shows, whether or not it has imported pyplot, and shows once."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=DPI)
            return out.getvalue()

    return Shown(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")


def _provisional_ground(axes: Axes, strip: Axes, shown: Sequence[Series]) -> None:
    """The time from the first provisional window on, hatched, and named."""
    starts = [one.rows.loc[one.provisional, "window_end"].min() for one in shown if one.provisional.any()]
    if not starts:
        return
    first = min(one.at[one.provisional][0] for one in shown if one.provisional.any())
    last = max(one.at[-1] for one in shown)
    room = (last - min(one.at[0] for one in shown)) * 0.02
    for each, hatch in ((axes, "////"), (strip, "")):
        each.axvspan(
            first - room, last + room, facecolor="#f6f6f6", edgecolor="#dddddd", hatch=hatch, linewidth=0, zorder=0
        )
    axes.annotate(
        "provisional",
        (last + room, 0.985),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="top",
        fontsize=8,
        color=SOFT,
        xytext=(-3, 0),
        textcoords="offset points",
    )


def _objective(axes: Axes, frame: pd.DataFrame, unit: Unit) -> None:
    texts = frame["objective"].dropna().unique()
    for text in texts:
        bound = float(Objective(text).parts[1])
        axes.axhline(bound, color=INK, linewidth=1, linestyle=(0, (6, 4)), zorder=2)
        axes.annotate(
            bound_text(text, unit),
            (1, bound),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            annotation_clip=False,
        )


def _dense_note(dense: bool, merged: pd.DataFrame | None) -> str:
    if not dense:
        return ""
    return "points without a line: too many windows" if merged is None else "points; the line is 7 days, merged"


def _head(axes: Axes, shown: Sequence[Series], slices: int, names: tuple[str, str, str], note: str) -> None:
    """The title, and what the colours and marks mean."""
    from matplotlib.lines import Line2D

    sli, grain, model = map(drawable, names)
    alone = len(shown) == 1
    title = f"{sli}, {grain}" + (f", {drawable(shown[0].name)}" if alone else "")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    notes = [model] * bool(model)
    notes += [f"the {len(shown)} largest of {counted(slices, 'slice')}"] * (slices > len(shown))
    notes += [note] * bool(note)
    axes.set_title("; ".join(notes), loc="right", fontsize=8, color=SOFT, parse_math=False)
    handles = (
        []
        if alone
        else [
            Line2D([], [], color=colour, marker=mark, markersize=4.2, linewidth=1.6, label=drawable(one.name))
            for one, colour, mark in zip(shown, COLOURS, MARKS, strict=False)
        ]
    )
    rows = pd.concat([one.rows for one in shown])
    if ((rows["verdict"] == "breached") & rows["value"].notna()).any():
        handles.append(Line2D([], [], color=INK, marker="x", linestyle="", markersize=6, label="breached"))
    if rows["value"].isna().any():
        reason = rows.loc[rows["value"].isna(), "reason"].mode()
        label = f"no value: {reason.iloc[0]}" if len(reason) else "no value"
        handles.append(Line2D([], [], color=SOFT, marker="|", linestyle="", markersize=6, label=drawable(label)))
    if handles:
        legend = axes.figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _finish(axes: Axes, strip: Axes, name: str, unit: Unit, zone: ZoneInfo, start: Any, end: Any) -> None:
    """Axes, their labels and grid; the first and the last window are drawn at `start` and `end`."""
    from matplotlib import dates, ticker

    locator = dates.AutoDateLocator(tz=zone, minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    strip.xaxis.set_major_locator(locator)
    strip.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    strip.set_xlabel(zone.key, fontsize=8, color=SOFT, loc="left")
    axes.set_ylabel(drawable(name), parse_math=False)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(float(value), None, unit)))
    if unit == "s":
        axes.yaxis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 1.8, 3.6, 6, 7.2, 9, 10]))
    strip.set_ylabel("labelled", rotation=0, ha="right", va="center", fontsize=8)
    strip.set_ylim(0, 108)
    strip.set_yticks([0, 100], ["0%", "100%"])
    axes.margins(x=0.02, y=0.08)
    if start == end:  # else the axis would show years around one window
        axes.set_xlim(start - timedelta(days=3), end + timedelta(days=3))
    for each in (axes, strip):
        each.grid(axis="y", color=PALE, linewidth=0.8, zorder=0)
        each.set_axisbelow(True)
        each.tick_params(colors=INK, labelsize=8, length=3)
        for side in ("top", "right"):
            each.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            each.spines[side].set_color("#bbbbbb")
    axes.tick_params(labelbottom=False)


def drawable(text: str) -> str:
    """A text without characters that the font of figures lacks, and without line breaks; each becomes a box.

    >>> drawable("羽田 ✈ a")
    '□□ ✈ a'
    """
    from matplotlib import font_manager

    glyphs = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    return "".join(letter if ord(letter) in glyphs and letter.isprintable() else "□" for letter in text)
