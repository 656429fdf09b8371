"""How good a served model really was: predictions joined with late feedback, exact indicators published."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sli.backfill import backfill as backfill
    from sli.backfill import plan_backfill as plan_backfill
    from sli.comparison import compare_slices as compare_slices
    from sli.query import distribution as distribution
    from sli.query import query as query
    from sli.read import read as read
    from sli.recompute import plan as plan
    from sli.recompute import run as run
    from sli.verify import verify as verify

__all__ = ["backfill", "compare_slices", "distribution", "plan", "plan_backfill", "query", "read", "run", "verify"]
__version__ = "0.1.0"

_HOME = {
    "backfill": "sli.backfill",
    "compare_slices": "sli.comparison",
    "distribution": "sli.query",
    "plan": "sli.recompute",
    "plan_backfill": "sli.backfill",
    "query": "sli.query",
    "read": "sli.read",
    "run": "sli.recompute",
    "verify": "sli.verify",
}


class _Package(ModuleType):
    """`sli.plan` and `sli.read` are functions, though the modules they live in carry the same names."""

    def __getattr__(self, name: str) -> Any:
        # Lazy, so that `import sli` costs nothing before something is asked of it.
        if name in _HOME:
            return getattr(importlib.import_module(_HOME[name]), name)
        raise AttributeError(f"module 'sli' has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule to its package's attribute; here the function keeps it.
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
