"""CONTRIBUTING.md leads somewhere: every path and every make target that it names exists, and no wing is missing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)
PLACES = ("sli/", "flows/", "tests/", "docs/", "configs/")


def test_every_path_exists() -> None:
    words = [word for quoted in QUOTED for word in quoted.split()]
    paths = [word for word in words if word.startswith(PLACES)]
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = [quoted.split()[1] for quoted in QUOTED if quoted.startswith("make ")]
    assert named
    assert [name for name in named if name not in targets] == []


def test_every_wing_is_on_the_map() -> None:
    wings = {f"sli/{path.parent.name}/" for path in (ROOT / "sli").glob("*/__init__.py")}
    assert wings <= set(QUOTED)
