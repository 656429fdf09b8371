"""How the panels of the dashboard show their rows: text, tables, lines. Each is a plain mapping, as Grafana reads it.

Colour says only what is breached, met or open, and the words say it too. Limit: what a panel looks like is Grafana's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DATASOURCE = {"type": "grafana-postgresql-datasource", "uid": "sli-postgres"}
Panel = dict[str, Any]
WORDS = {"met": "green", "breached": "red", "undecided": "yellow", "no value": "orange"}


def text(title: str, sql: str) -> Panel:
    """The sentence that a query gives."""
    options = {
        "colorMode": "none",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": "value",
        "text": {"valueSize": 20},
        "reduceOptions": {"values": True, "calcs": ["lastNotNull"], "fields": "/.*/"},
    }
    return _panel("stat", title, options, [_target("A", sql, "table")])


def table(title: str, sql: str, widths: Mapping[str, int] | None = None) -> Panel:
    """The rows of a query; verdicts are coloured, long texts wrap. `widths` are in pixels."""
    overrides = [
        _override(name, {"custom.width": width, "custom.cellOptions": {"type": "auto", "wrapText": True}})
        for name, width in (widths or {}).items()
    ]
    overrides += [
        _override("verdict", {"mappings": _mappings(), "custom.cellOptions": {"type": "color-text"}}),
        _override("coverage", {"unit": "percentunit", "decimals": 1}),
        _override("seconds", {"unit": "s"}),
    ]
    options = {"showHeader": True, "cellHeight": "sm"}
    return _panel("table", title, options, [_target("A", sql, "table")], overrides=overrides)


def course(title: str, sql: str, unit: str) -> Panel:
    """The course of an SLI; `unit` is a query for its unit."""
    points = {"custom.drawStyle": "points", "custom.showPoints": "always"}
    overrides = [
        _override("final", {"color": _fixed("blue"), "custom.lineWidth": 2}),
        _override("provisional", {"color": _fixed("blue"), "custom.lineStyle": {"fill": "dash", "dash": [4, 4]}}),
        _override("interval low", _BAND),
        _override("interval high", {**_BAND, "custom.fillBelowTo": "interval low", "custom.fillOpacity": 15}),
        _override("objective", {"color": _fixed("text"), "custom.lineStyle": {"fill": "dash", "dash": [10, 6]}}),
        _override("breached", {**points, "color": _fixed("red"), "custom.pointSize": 8}),
        _override("restated", {**points, "color": _fixed("purple"), "custom.pointSize": 12}),
    ]
    targets = [_target("A", sql, "time_series"), _target("unit", unit, "table")]
    lines = _lines(title, targets, overrides)
    return lines | {"transformations": [_UNIT]}


def missing(title: str, sql: str, unit: str) -> Panel:
    """The range in which values end, whatever the missing labels are."""
    overrides = [
        _override("value", {"color": _fixed("blue"), "custom.lineWidth": 2}),
        _override("at least", {**_BAND, "color": _fixed("orange")}),
        _override(
            "at most",
            {
                **_BAND,
                "color": _fixed("orange"),
                "custom.fillBelowTo": "at least",
                "custom.fillOpacity": 25,
            },
        ),
    ]
    targets = [_target("A", sql, "time_series"), _target("unit", unit, "table")]
    return _lines(title, targets, overrides) | {"transformations": [_UNIT]}


def coverage(title: str, sql: str) -> Panel:
    """A bar for each window, from 0 to 100 %."""
    bars = {"custom.drawStyle": "bars", "custom.fillOpacity": 60, "unit": "percentunit", "min": 0, "max": 1}
    return _lines(title, [_target("A", sql, "time_series")], [_override("coverage", bars)])


def row(title: str) -> Panel:
    """The heading of the panels below."""
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


_BAND: Mapping[str, Any] = {
    "color": {"mode": "fixed", "fixedColor": "blue"},
    "custom.lineWidth": 0,
    "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
}
_UNIT: Mapping[str, Any] = {
    "id": "configFromData",
    "options": {
        "configRefId": "unit",
        "applyTo": {"id": "byType", "options": "number"},
        "mappings": [{"fieldName": "unit", "handlerKey": "unit"}],
    },
}
"""Takes the unit of all numbers from the query `unit`."""


def _lines(title: str, targets: Sequence[Panel], overrides: Sequence[Panel]) -> Panel:
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    # A null ends a line, and the queries have one wherever windows are missing.
    custom = {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "showPoints": "auto"}
    custom |= {"spanNulls": False, "pointSize": 4, "fillOpacity": 0}
    return _panel("timeseries", title, options, targets, custom, overrides)


def _panel(
    kind: str,
    title: str,
    options: Mapping[str, Any],
    targets: Sequence[Panel],
    custom: Mapping[str, Any] | None = None,
    overrides: Sequence[Panel] = (),
) -> Panel:
    defaults = {"custom": dict(custom)} if custom else {}
    return {
        "type": kind,
        "title": title,
        "datasource": DATASOURCE,
        "targets": list(targets),
        "options": dict(options),
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }


def _target(ref: str, sql: str, format: str) -> Panel:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "format": format,
        "rawSql": sql,
        "rawQuery": True,
        "editorMode": "code",
    }


def _override(name: str, properties: Mapping[str, Any]) -> Panel:
    listed = [{"id": id, "value": value} for id, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def _fixed(color: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": color}


def _mappings() -> list[Panel]:
    options = {word: {"color": color, "index": index} for index, (word, color) in enumerate(WORDS.items())}
    return [{"type": "value", "options": options}]
