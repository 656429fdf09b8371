"""The nearest valid name is one that a person may have meant, also among short names; else there is none."""

from __future__ import annotations

import pytest

from sli.errors import nearest


@pytest.mark.parametrize(
    ("name", "valid", "meant"),
    [
        ("jfk", ["EWR", "JFK", "LGA"], "JFK"),
        ("JKF", ["EWR", "JFK", "LGA"], "JFK"),
        ("EWR", ["LGA", "JFK"], ""),
        ("AA", ["UA", "B6"], ""),
        ("B5", ["UA", "B6"], "B6"),
        ("d", ["hour", "day"], "day"),
        ("daily", ["hour", "day", "cumulative"], "day"),
        ("7d/7d", ["7d/1d", "hour"], "7d/1d"),
        ("f", ["f1", "f2"], ""),
        ("f1", ["f1_macro", "f2"], "f1_macro"),
        ("auc", ["roc_auc", "brier"], "roc_auc"),
        ("log-loss", ["log_loss"], "log_loss"),
        ("acuracy", ["recall", "accuracy"], "accuracy"),
        ("status", ["show", "slices"], ""),
        ("x", ["y"], ""),
        ("", ["a"], ""),
        ("a", [], ""),
    ],
)
def test_the_nearest_name(name: str, valid: list[str], meant: str) -> None:
    assert nearest(name, valid) == (f"did you mean '{meant}'?" if meant else "")
