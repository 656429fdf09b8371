"""The newest windows as Prometheus scrapes them: from the file of node_exporter, or `/metrics` of `sli serve`.

No sample has a time stamp: node_exporter skips a file that has one. The end of each window is a metric of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.errors import ConfigError
from sli.export.chosen import Choice, chosen, newest_rows
from sli.export.samples import (
    FAMILIES,
    INFO,
    LAST_RUN,
    UNITS,
    WINDOW_END,
    header,
    labels_text,
    lines,
    seconds,
    windows_of,
)
from sli.export.textfile import textfile_of, write_textfile
from sli.reading.publication import Publication, opened
from sli.runs.outcome import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Metric = tuple[str, str, list[str]]
"""The name of a metric, what it is, and its lines."""


def metrics_of(publication: Publication) -> list[Metric]:
    """The metrics of the newest windows that the config chooses. Raises StoreError, ConfigError for too many series."""
    config, choice = publication.config, chosen(publication)
    windows = windows_of(newest_rows(publication, choice), config).sort_by("labels")
    metrics: dict[str, Metric] = {}
    for family in FAMILIES:
        for unit, suffix in enumerate(UNITS if family.own_unit else ("",)):
            own = windows.filter(pc.field("unit") == unit) if family.own_unit else windows
            name = family.name + suffix
            *_, samples = metrics.setdefault(name, (name, family.help, []))
            samples.extend(lines(name, family.label, _samples(own, family.column)))
    last = [(labels_text({"model": config.model}), seconds(publication.published.as_of))]
    ends = ((labels, seconds(end)) for labels, end in _samples(windows, WINDOW_END.column))
    infos = ((labels, 1.0) for labels in _infos(config, choice))
    for family, further in ((WINDOW_END, ends), (INFO, infos), (LAST_RUN, last)):
        metrics[family.name] = (family.name, family.help, [*lines(family.name, "", further)])
    found = [metric for metric in metrics.values() if metric[2]]
    _check_count(sum(len(samples) for *_, samples in found), config)
    return found


def _samples(windows: pa.Table, column: str) -> Iterator[tuple[str, float]]:
    """The labels and the number of each window, in their order, where there is one."""
    present = windows.filter(windows.column(column).is_valid())
    labels, numbers = (present.column(name).to_pylist() for name in ("labels", column))
    return zip(cast("list[str]", labels), cast("list[float]", numbers), strict=True)


def _infos(config: Config, choice: Choice) -> list[str]:
    """The labels of the metric that tells what each exported SLI is."""
    return [
        labels_text(
            {
                "model": config.model,
                "sli": sli.name,
                "definition": config.definition(sli),
                "objective": sli.objective.text if sli.objective else "",
                "horizon": config.horizon.text,
            }
        )
        for sli in config.declared
        if sli.name in choice.slis
    ]


def exposition(models: Sequence[Sequence[Metric]]) -> str:
    """The metrics of some models in the text format of Prometheus, each metric of all models together."""
    merged: dict[str, tuple[str, list[str]]] = {}
    for name, help, samples in itertools.chain.from_iterable(models):
        merged.setdefault(name, (help, []))[1].extend(samples)
    return "".join(header(name, help) + "".join(samples) for name, (help, samples) in merged.items())


def _check_count(series: int, config: Config) -> None:
    """Raise ConfigError for more series than the config allows: each stays in the memory of Prometheus for hours."""
    allowed = config.export.prometheus.series
    if series > allowed:
        raise ConfigError(
            f"these are {series:,} series for Prometheus, more than {allowed:,}",
            where="export.prometheus",
            expected=f"at most {allowed:,}",
            todo=f"choose fewer `slices`, `grains` or `slis`, or allow them: `series: {series}`, or --series {series}",
        )


def send_textfile(config: Config, _: Sequence[Outcome]) -> Sequence[str]:
    """After a run: the textfile with the newest windows. Raises SliError."""
    path = config.export.prometheus.textfile
    publication = opened(config)
    assert path is not None
    write_textfile(textfile_of(path, config.model), config.model, exposition([metrics_of(publication)]))
    return ()
