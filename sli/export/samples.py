"""Published windows as samples of Prometheus: names, labels and values, in its text format or as OpenMetrics.

A value is written with the digits that give the same double back; where a table has null there is no sample. Limit:
what a window rests on (its revisions, its reasons) stays in the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import SECOND
from sli.config.model import Config
from sli.engine.arrow import ChunkedColumn
from sli.report.chunks import table_of
from sli.report.series import slice_texts
from sli.rollup.results import encode
from sli.slices import parse_slice
from sli.slis import Sli
from sli.slis.formula import SHARE, Objective

ALL = "all"
"""The label `slice` of all predictions together. Every other one has a `=`."""
UNITS = ("", "_ratio", "_seconds")
"""How names of values end: a share from 0 to 1, seconds, or a unit that only the SLI knows."""
PLAIN = re.compile(r"[^\s,=\"\\]+")
"""A text that stands in the label `slice` as it is."""


@dataclass(frozen=True)
class Family:
    """A metric, and the column of `windows_of` that has its values."""

    name: str
    column: str
    help: str
    own_unit: bool = False
    """Whether its name ends in the unit of the SLI."""
    label: str = ""
    """A further label that tells it from the other families of its name."""


FAMILIES = (
    Family("sli_value", "value", "Value of the SLI in this window.", True),
    Family("sli_interval_low", "interval_low", "Lower end of the confidence interval of the value.", True),
    Family("sli_interval_high", "interval_high", "Upper end of the confidence interval of the value.", True),
    Family("sli_missing_low", "missing_low", "Least value that the labels still missing can lead to.", True),
    Family("sli_missing_high", "missing_high", "Greatest value that the labels still missing can lead to.", True),
    Family("sli_objective_bound", "bound", "Bound that the objective sets for the value."),
    Family("sli_coverage_ratio", "coverage", "Share of the predictions that are labelled."),
    Family("sli_predictions", "predictions", "Number of predictions in this window."),
    Family("sli_labelled", "labelled", "Number of predictions that are labelled."),
    Family("sli_final", "final", "1 once the horizon of the window has passed, 0 while labels can still count."),
    Family("sli_verdict", "met", "1 for the present verdict on the objective, 0 for others.", label='verdict="met"'),
    Family("sli_verdict", "breached", "", label='verdict="breached"'),
    Family("sli_verdict", "undecided", "", label='verdict="undecided"'),
)
"""The metrics of a window, in the order in which they are written."""
WINDOW_END = Family("sli_window_end_timestamp_seconds", "end", "End of the newest window.")
INFO = Family("sli_info", "", "Definition, objective and horizon of the SLI.")
LAST_RUN = Family(
    "sli_last_run_timestamp_seconds", "", "As of when the last run that published anything knew the logs."
)
COLUMNS = (
    *("sli", "definition", "grain", "window_end", "slice", "value", "ci_low", "ci_high", "missing_low", "missing_high"),
    *("predictions", "labelled", "coverage", "maturity", "objective", "verdict"),
)
"""The columns of `results` that windows are made of."""
VERDICTS = ("met", "breached", "undecided")


def slice_label(slice: Mapping[str, str | None]) -> str:
    """A slice as a label: `COLUMN=VALUE`, by columns in order. What could be misread is in JSON's quotes; null is bare.

    >>> slice_label({}), slice_label({"carrier": "AA", "origin": "a,b"}), slice_label({"x": None, "y": "", "z": "null"})
    ('all', 'carrier=AA,origin="a,b"', 'x=null,y="",z="null"')
    """
    parts = [f"{_plain(name)}={'null' if value is None else _plain(value)}" for name, value in sorted(slice.items())]
    return ",".join(parts) or ALL


def _plain(text: str) -> str:
    bare = PLAIN.fullmatch(text) and text != "null" and text.isprintable()
    return text if bare else json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """A label's value as it stands between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand between braces.

    >>> labels_text({"model": 'a "b"', "sli": "recall"})
    'model="a \\\\"b\\\\"",sli="recall"'
    """
    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


def unit_of(sli: Sli) -> str:
    """How the names of its values end: one of `UNITS`."""
    if sli.unit == "s":
        return "_seconds"
    return "_ratio" if sli.formula.range == SHARE else ""


def windows_of(rows: pa.Table, config: Config) -> pa.Table:
    """Rows of `results` with the columns `COLUMNS` as windows, in their order.

    Columns: labels (as they stand between braces), unit (its place in `UNITS`), end (in microseconds), and for each
    family its column of doubles.
    """
    units = {sli.name: UNITS.index(unit_of(sli)) for sli in config.declared}
    # The tables call an objective undecided where there is no value; here it then has no verdict.
    known = rows.column("value").is_valid()
    return table_of(
        {
            "labels": _labels(rows, config),
            "unit": _by_text(rows.column("sli"), units, pa.int8()),
            "end": rows.column("window_end").cast(pa.int64()),
            "value": rows.column("value"),
            "interval_low": rows.column("ci_low"),
            "interval_high": rows.column("ci_high"),
            "missing_low": rows.column("missing_low"),
            "missing_high": rows.column("missing_high"),
            "bound": _bounds(rows.column("objective")),
            **{name: rows.column(name).cast(pa.float64()) for name in ("coverage", "predictions", "labelled")},
            "final": pc.equal(rows.column("maturity"), pa.scalar("final")).cast(pa.float64()),
            **{name: _flags(rows.column("verdict"), name, known) for name in VERDICTS},
        }
    )


def _labels(rows: pa.Table, config: Config) -> ChunkedColumn:
    """The labels model, sli, grain and slice of each row."""
    slices = slice_texts(rows.column("slice"))
    distinct = cast("list[str]", encode(slices).dictionary.to_pylist())
    parts = [
        pa.scalar(f"{labels_text({'model': config.model})},"),
        _by_text(rows.column("sli"), {sli.name: labels_text({"sli": sli.name}) for sli in config.declared}),
        pa.scalar(","),
        _by_text(rows.column("grain"), {grain.name: labels_text({"grain": grain.name}) for grain in config.all_grains}),
        pa.scalar(","),
        _by_text(slices, {text: labels_text({"slice": slice_label(parse_slice(text))}) for text in distinct}),
        pa.scalar(""),
    ]
    return cast("ChunkedColumn", pc.binary_join_element_wise(*parts))  # type: ignore[call-overload]


def _by_text(column: ChunkedColumn, values: Mapping[str, object], kind: pa.DataType | None = None) -> ChunkedColumn:
    """For each text of a column the value that belongs to it; null where none does."""
    texts = encode(column)
    of_distinct = pa.array([values.get(str(text)) for text in texts.dictionary.to_pylist()], kind or pa.string())
    return pa.chunked_array([of_distinct.take(texts.indices)])


def _bounds(objectives: ChunkedColumn) -> ChunkedColumn:
    texts = encode(objectives)
    bounds = pa.array([Objective(str(text)).parts[1] for text in texts.dictionary.to_pylist()], pa.float64())
    return pa.chunked_array([bounds.take(texts.indices)])


def _flags(column: ChunkedColumn, value: str, known: ChunkedColumn) -> ChunkedColumn:
    """1 where a column has this value, else 0; null where it is null, or not `known`."""
    flags = pc.equal(column, pa.scalar(value)).cast(pa.float64())
    return cast("ChunkedColumn", pc.if_else(known, flags, pa.scalar(None, pa.float64())))


def number(value: float) -> str:
    """A double as Prometheus reads it, to the bit.

    >>> number(0.1 + 0.2), number(1e22), number(12.0), number(-float("inf"))
    ('0.30000000000000004', '1e+22', '12', '-Inf')
    """
    if value in (np.inf, -np.inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def header(name: str, help: str) -> str:
    """The lines before the samples of a metric."""
    return f"# HELP {name} {help}\n# TYPE {name} gauge\n"


def lines(name: str, label: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    """A line for each sample: its labels and its value. `label` is a further one of all of them."""
    more = f",{label}" if label else ""
    return (f"{name}{{{labels}{more}}} {number(value)}\n" for labels, value in samples)


def seconds(micros: float) -> float:
    """An instant as Prometheus has it."""
    return micros / SECOND
