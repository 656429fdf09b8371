"""The files that Grafana reads when it starts: the dashboard, where it lies, and the database.

The password is not in them: Grafana takes it from its environment. Limit: the database is that of the config; a
connection by a socket or with several hosts is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from sli.calendar.interval import iso
from sli.config.model import Config
from sli.config.postgres_section import PostgresSink
from sli.errors import ConfigError, StoreError
from sli.export.grafana.dashboard import UID, dashboard
from sli.export.grafana.panels import DATASOURCE
from sli.publishing.store import Store

READER = "sli_reader"
PASSWORD = "RESULTS_READER_PASSWORD"
"""The variable of Grafana's environment with the password of the reader."""
SHOWN = 60 * 86_400 * 1_000_000
"""How much the dashboard shows when it opens."""
DASHBOARDS = "/etc/grafana/dashboards"
"""Where Grafana finds the dashboard in its container, or wherever the folder is put."""
NOTE = "# Written by `sli export grafana`: changes here are lost.\n"


def files(config: Config, sink: PostgresSink, now: int) -> dict[str, str]:
    """What to write, by path below a folder. `now` is the present instant. Raises ConfigError."""
    since, until = _shown(config, now)
    board = dashboard(sink.schema_name, config.timezone, since, until)
    return {
        "dashboards/sli.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n",
        "provisioning/dashboards/sli.yaml": _yaml(_provider()),
        "provisioning/datasources/sli.yaml": _yaml(_datasource(sink)),
    }


def write(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write the files, and return their paths. Raises ConfigError."""
    paths = []
    for name, text in contents.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"the files for Grafana cannot be written: {error.strerror}",
                where=str(path),
                todo="name another --folder",
            ) from error
        paths.append(path)
    return paths


def _shown(config: Config, now: int) -> tuple[str, str]:
    """From when to when the dashboard opens: the last days, of a store whose results are older the days that it has."""
    try:
        published = Store(config.store, config.storage).published()
    except StoreError:
        # The dashboard may be made where the store cannot be reached.
        published = None
    if published is None or published.newest > now - SHOWN:
        return f"now-{SHOWN // 86_400_000_000}d", "now"
    return iso(published.newest - SHOWN), iso(published.newest)


def _provider() -> dict[str, Any]:
    provider = {
        "name": UID,
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": DASHBOARDS},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _datasource(sink: PostgresSink) -> dict[str, Any]:
    parts = urlsplit(sink.url)
    try:
        host, port = parts.hostname, parts.port or 5432
    except ValueError:
        host = None
    if host is None:
        raise ConfigError(
            "the URL has no single host and port, which Grafana needs",
            where="export.postgres.url",
            expected="postgresql://HOST:5432/DATABASE",
        )
    [mode] = parse_qs(parts.query).get("sslmode", ["disable"])[:1]
    source = {
        "name": "SLIs",
        **DATASOURCE,
        "access": "proxy",
        "url": f"{host}:{port}",
        "user": READER,
        "jsonData": {"database": unquote(parts.path.removeprefix("/")), "sslmode": mode, "postgresVersion": 1500},
        "secureJsonData": {"password": f"${{{PASSWORD}}}"},
        "editable": False,
    }
    return {"apiVersion": 1, "datasources": [source]}


def _yaml(tree: dict[str, Any]) -> str:
    return NOTE + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
