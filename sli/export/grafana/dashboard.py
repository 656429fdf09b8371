"""The dashboard: the four questions of the page as rows of panels, for the model, SLI, grain and slice that are chosen.

Limit: one SLI of one slice at a time; the page of `sli report` has charts of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sli.export.grafana import panels
from sli.export.grafana.panels import Panel
from sli.export.grafana.queries import Queries

WIDTH = 24
"""Columns of Grafana's grid."""
UID = "sli"
Placed = tuple[Panel, int, int]
"""A panel with its width and height in units of the grid."""
ROWS_OF_TEXT = {"finding": 700, "explanation": 500, "SLI": 160}


def dashboard(schema: str, timezone: str, since: str, until: str) -> dict[str, Any]:
    """The dashboard as Grafana reads it, over the tables of a schema.

    It opens from `since` to `until`, which are times as Grafana writes them: `now-60d`, or ISO 8601.
    """
    queries = Queries(schema)
    return {
        "uid": UID,
        "title": "How good is the model?",
        "tags": ["sli"],
        "timezone": timezone,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "5m",
        "schemaVersion": 39,
        "time": {"from": since, "to": until},
        "templating": {"list": _variables(queries)},
        "annotations": {"list": []},
        "panels": _placed(_rows(queries)),
    }


def _rows(queries: Queries) -> list[Placed]:
    return [
        (panels.text("$model", queries.sentence), 24, 3),
        (panels.table("", queries.facts), 24, 3),
        (panels.row("How good is it now, and is that as required?"), 24, 1),
        (panels.table("The last 7 days against the 7 days before", queries.cards), 24, 9),
        (panels.row("Over time"), 24, 1),
        (panels.course("$sli, $grain, $slice", queries.course, queries.unit), 24, 11),
        (panels.coverage("Labelled predictions", queries.coverage), 24, 4),
        (panels.row("Is the change real, or late labels, or bad data?"), 24, 1),
        (panels.text("$sli", queries.explanation), 24, 3),
        (panels.table("What was found", queries.findings, ROWS_OF_TEXT), 24, 7),
        (panels.missing("If labels arrive: where the value can still end", queries.missing, queries.unit), 12, 9),
        (panels.table("Slices, the worst first", queries.by_slice), 12, 9),
        (panels.table("Rows set aside or not counted", queries.audit, ROWS_OF_TEXT), 24, 6),
        (panels.row("What changed since the run before?"), 24, 1),
        (panels.table("Results by cause", queries.causes), 6, 8),
        (panels.table("Changed results", queries.changes), 18, 8),
        (panels.table("Runs", queries.runs), 24, 7),
    ]


def _placed(rows: Sequence[Placed]) -> list[Panel]:
    """The panels with their numbers and places: from left to right, and below where a line is full."""
    placed: list[Panel] = []
    x = y = tallest = 0
    for number, (panel, width, height) in enumerate(rows, 1):
        if x + width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, tallest = x + width, max(tallest, height)
    return placed


def _variables(queries: Queries) -> list[dict[str, Any]]:
    named = {"model": queries.models, "sli": queries.slis, "grain": queries.grains, "slice": queries.slices}
    labels = {"model": "Model", "sli": "SLI", "grain": "Windows", "slice": "Slice"}
    return [
        {
            "type": "query",
            "name": name,
            "label": labels[name],
            "datasource": panels.DATASOURCE,
            "query": sql,
            # When the dashboard opens, and in the order of the queries, whose order of rows is kept.
            "refresh": 1,
            "sort": 0,
            "multi": False,
            "includeAll": False,
            "hide": 0,
        }
        for name, sql in named.items()
    ]
