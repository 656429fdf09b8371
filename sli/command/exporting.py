"""`sli export`: what is published, sent to one sink; and the sinks of a run that had nothing to do.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from sli.command.output import print_warnings
from sli.config.load import load_config
from sli.config.model import Config
from sli.export.after import export_failure, export_published


def repaired(options: argparse.Namespace) -> tuple[str, ...]:
    """Send to each sink what it still lacks, and return a warning for each that failed. Raises ConfigError."""
    return export_published(load_config(options.configs[0], options.settings))


@contextlib.contextmanager
def failure_told(config: Config) -> Iterator[None]:
    """Tell the webhooks of a config if what is done within fails, and warn of those that were not told."""
    try:
        yield
    except Exception as error:
        print_warnings(export_failure(config, error))
        raise
