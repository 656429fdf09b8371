"""How good a served model really was: predictions joined with late feedback, exact indicators published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sli.read import read as read
    from sli.recompute import plan as plan
    from sli.recompute import run as run
    from sli.verify import verify as verify

__all__ = ["plan", "read", "run", "verify"]
__version__ = "0.1.0"

_HOME = {"read": "sli.read", "plan": "sli.recompute", "run": "sli.recompute", "verify": "sli.verify"}


def __getattr__(name: str) -> Any:
    # Lazy, so that `import sli` costs nothing before something is asked of it.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sli' has no attribute '{name}'")
