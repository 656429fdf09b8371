"""How good a served model really was: predictions joined with late feedback, exact indicators published."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sli.judging.compare import compare_slices as compare_slices
    from sli.judging.explain import explain as explain
    from sli.reading.difference import compare as compare
    from sli.reading.query import distribution as distribution
    from sli.reading.query import query as query
    from sli.reading.read import read as read
    from sli.reading.verify import verify as verify
    from sli.report.figure import plot as plot
    from sli.runs.backfill import backfill as backfill
    from sli.runs.backfill import plan_backfill as plan_backfill
    from sli.runs.preview import plan as plan
    from sli.runs.recompute import run as run

__version__ = "0.1.0"

_HOME = {
    "backfill": "sli.runs.backfill",
    "compare": "sli.reading.difference",
    "compare_slices": "sli.judging.compare",
    "distribution": "sli.reading.query",
    "explain": "sli.judging.explain",
    "plan": "sli.runs.preview",
    "plan_backfill": "sli.runs.backfill",
    "plot": "sli.report.figure",
    "query": "sli.reading.query",
    "read": "sli.reading.read",
    "run": "sli.runs.recompute",
    "verify": "sli.reading.verify",
}
"""The public functions, each with its module."""
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used, so that `import sli` itself costs nothing."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sli' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public functions, so that completion finds them before they are imported."""
    return __all__
