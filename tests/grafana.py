"""What Grafana does with the SQL of a dashboard before a database sees it: variables and macros filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import rows

FROM, TO = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


def expanded(sql: str, variables: Mapping[str, str], since: str = FROM, until: str = TO) -> str:
    """As the data source for PostgreSQL does it: `${name:sqlstring}` quotes, and `$__timeFilter(x)` is a BETWEEN."""
    names = re.findall(r"\$\{(\w+):sqlstring\}", sql)
    assert set(names) <= set(variables), names
    sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN '{since}' AND '{until}'", sql)
    assert "$__" not in sql, sql
    return re.sub(r"\$\{(\w+):sqlstring\}", lambda found: "'" + variables[found[1]].replace("'", "''") + "'", sql)


class Board:
    """A dashboard and the database under it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.tree: dict[str, Any] = json.loads(path.read_text())
        self.url = url

    @property
    def panels(self) -> list[dict[str, Any]]:
        return list(self.tree["panels"])

    def targets(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for panel in self.panels:
            for target in panel.get("targets", ()):
                yield panel, target

    def rows(self, sql: str, variables: Mapping[str, str], *times: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=rows.dict_row) as connection:
            return connection.execute(expanded(sql, variables, *times).encode()).fetchall()

    def options(self, name: str, variables: Mapping[str, str]) -> list[str]:
        """The values of a variable, in order."""
        [variable] = (one for one in self.tree["templating"]["list"] if one["name"] == name)
        found = self.rows(variable["query"], variables)
        return [str(row.get("__value", next(iter(row.values())))) for row in found]

    def chosen(self, **wanted: str) -> dict[str, str]:
        """All variables: as wanted, or the first value, as Grafana chooses it."""
        variables: dict[str, str] = {}
        for one in self.tree["templating"]["list"]:
            name = one["name"]
            options = self.options(name, variables)
            variables[name] = wanted.get(name, options[0])
            assert variables[name] in options
        return variables

    def panel(self, title: str) -> dict[str, Any]:
        [panel] = (one for one in self.panels if one["title"] == title)
        return panel

    def shown(self, title: str, variables: Mapping[str, str], *times: str) -> list[dict[str, Any]]:
        """The rows of a panel."""
        return self.rows(self.panel(title)["targets"][0]["rawSql"], variables, *times)
