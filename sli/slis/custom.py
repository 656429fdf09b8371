"""SLIs the user writes: in SQL, as a Python function of two arrays, or as one of merged states.

Limit: a Python function of arrays does not merge; longer windows than a day call it on a sample.
"""

from __future__ import annotations

from sli.slis.loaded import load, source
from sli.slis.mergeable import Mergeable, from_mergeable, is_mergeable
from sli.slis.python import PYTHON_KEYS, Called, called, from_python, pickled, source_hash
from sli.slis.sql import aggregate, from_sql

__all__ = [
    "PYTHON_KEYS",
    "Called",
    "Mergeable",
    "aggregate",
    "called",
    "from_mergeable",
    "from_python",
    "from_sql",
    "is_mergeable",
    "load",
    "pickled",
    "source",
    "source_hash",
]
