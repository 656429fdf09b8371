"""Whether `sli run` has nothing to do, told before the libraries are imported that a run needs.

Limit: of one config, without options that change what a run does; whatever fails here, the run itself says why.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

SECOND = 1_000_000
NOTHING_TO_DO = "nothing to do: the tables are up to date with the logs"


def idle_config(options: argparse.Namespace) -> Mapping[str, object] | None:
    """The keys of the config if the run that is asked for finds nothing to do; None if only its plan can tell."""
    unusual = options.json or options.look_back or options.full_listing or options.future or options.undo_future
    if unusual or len(options.configs) > 1 or not os.path.isfile(options.configs[0]):
        return None
    # Not at the top: the command also prints its help.
    from sli.config.tree import read_tree
    from sli.publishing.unchanged import is_unchanged

    try:
        as_of, now = _instant(options.as_of), int(time.time()) * SECOND
        tree = read_tree(Path(options.configs[0]), options.settings)
        idle = as_of <= now and is_unchanged(tree.keys, tree.digest(sys.modules["sli"].__version__), as_of)
    except Exception:  # of any library
        return None
    return tree.keys if idle else None


def _instant(as_of: str | None) -> int:
    """An as_of in microseconds. Raises ValueError unless it is now, or a text with a zone."""
    if as_of is None:
        return int(time.time()) * SECOND
    time_of = datetime.fromisoformat(as_of)
    if time_of.tzinfo is None:
        raise ValueError("the zone is that of the config")
    since = time_of - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds
