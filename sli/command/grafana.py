"""`sli export grafana`: the dashboard and its provisioning, as files. Limit: of the first config's database alone."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sli.command.answers import Answer
from sli.command.postgres import sink_of
from sli.config.model import Config
from sli.export.grafana.provisioning import PASSWORD, READER, files, write

FOLDER = "grafana"


def grafana_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Write the files, and say what Grafana needs besides. Raises SliError."""
    sink = sink_of(config)
    paths = write(Path(options.folder or FOLDER), files(config, sink, int(time.time()) * 1_000_000))
    needs = f"Grafana reads them with the user {READER}, whose password is {PASSWORD} in its environment"
    return Answer(
        lines=lambda: [*map(str, paths), f"{needs}: docs/export.md"], plain=lambda: {"files": list(map(str, paths))}
    )
