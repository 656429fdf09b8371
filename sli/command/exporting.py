"""`sli export`: what is published, sent to one sink; and the sinks of a run that had nothing to do.

Limit: an answer is computed and not yet printed; `models` prints it, alone or as one of several.
"""

from __future__ import annotations

import argparse

from sli.config.load import load_config
from sli.export.after import export_published


def repaired(options: argparse.Namespace) -> tuple[str, ...]:
    """Send to each sink what it still lacks, and return a warning for each that failed. Raises ConfigError."""
    return export_published(load_config(options.configs[0], options.settings))
