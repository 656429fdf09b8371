"""`sli export postgres`: the tables in PostgreSQL made equal to what is published.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse
import time

from sli.command.answers import Answer
from sli.config.model import Config
from sli.config.postgres_section import PostgresSink
from sli.errors import WARNED, ConfigError, StoreError
from sli.export.extras import needs_extra


def sink_of(config: Config) -> PostgresSink:
    """The database that a config names. Raises ConfigError if it names none."""
    if config.export.postgres is None:
        raise ConfigError(
            "the config names no PostgreSQL",
            where="export.postgres",
            expected="{url: postgresql://..., schema: sli}",
            todo="add it; docs/export.md has an example",
        )
    return config.export.postgres


def postgres_answer(options: argparse.Namespace, config: Config) -> Answer:  # noqa: ARG001
    """Send all results to PostgreSQL, and say how many it lacked. Raises SliError."""
    sink = sink_of(config)
    with needs_extra("postgres"):
        from sli.export.postgres.send import send_all
    began = time.monotonic()
    sent = send_all(config, sink)
    if not sent.results and not sent.removed:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    line = (
        f"{sent.where}: {sent.results:,} results, {sent.written:,} of them were new or other, {sent.removed:,} removed "
        f"({time.monotonic() - began:.1f} s)"
    )
    plain = {"where": sent.where, "results": sent.results, "written": sent.written, "removed": sent.removed}
    return Answer(
        lines=lambda: [line],
        plain=lambda: plain | {"seconds": time.monotonic() - began, "warnings": sent.warnings},
        warnings=sent.warnings,
        exit_code=WARNED if sent.warnings else 0,
        cells=lambda: {"results": f"{sent.results:,}", "written": f"{sent.written:,}", "outcome": "sent"},
    )
