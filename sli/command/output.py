"""How the command prints: lines and JSON on stdout, warnings on stderr, all without secrets."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from sli.masking import masked, masked_tree


def print_lines(lines: Sequence[str]) -> None:
    """Print text on stdout."""
    for line in lines:
        print(masked(line))


def print_json(plain: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(masked_tree(plain), default=list))


def print_warnings(warnings: Sequence[str], of: str = "") -> None:
    """Print messages on stderr; `of` says which of several models they are about."""
    for line in warnings:
        print(f"sli: {of}{masked(line)}", file=sys.stderr)
