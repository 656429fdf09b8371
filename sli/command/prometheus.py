"""`sli export prometheus`: the newest windows on stdout or for node_exporter, or all windows as OpenMetrics.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse

from sli.command.answers import Answer
from sli.config.model import Config
from sli.config.several import are_several
from sli.errors import ConfigError
from sli.export.openmetrics import save_history
from sli.export.prometheus import exposition, metrics_of
from sli.export.textfile import textfile_of, write_textfile
from sli.reading.publication import opened


def prometheus_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Print or write the metrics of a model. Raises SliError."""
    several = are_several(options.configs)
    if several and (options.history or not options.textfile):
        raise ConfigError(
            "the metrics of several models go to a file each",
            where="sli export prometheus",
            expected="--textfile with a folder, or one config",
        )
    publication = opened(config)
    if options.history:
        samples = save_history(publication, options.history)
        return _written(options.history, "samples", samples)
    metrics = metrics_of(publication)
    text = exposition([metrics])
    if not options.textfile:
        return Answer(lines=lambda: text.rstrip("\n").split("\n"), plain=lambda: {"text": text})
    path = textfile_of(options.textfile, config.model)
    write_textfile(path, config.model, text)
    return _written(path, "series", sum(len(samples) for *_, samples in metrics))


def _written(path: str, what: str, count: int) -> Answer:
    return Answer(
        lines=lambda: [f"{path}: {count:,} {what}"],
        plain=lambda: {"path": path, what: count},
        cells=lambda: {what: f"{count:,}", "outcome": "written"},
    )
