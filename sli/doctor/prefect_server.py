"""Prefect: are there deployments of the flows, are they on, and how did their last runs end?

Asked over its HTTP API, at PREFECT_API_URL, because `sli` knows nothing of Prefect's package. Limit: it cannot tell
whether a deployment is of this config if its parameters name a folder of configs; it shows all of the flows.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sli.doctor.finding import Finding, Skipped, ok, warning
from sli.doctor.setup import Setup
from sli.engine.storage import message_of
from sli.errors import EngineError
from sli.masking import keep_secret, masked
from sli.reading.figures import counted

FLOWS = re.compile(r"\bflows[./](recompute|backfill)\b")
"""What the entry points of the deployments have."""
SECONDS = 5.0
"""How long the server may take for an answer."""
ENDED_BADLY = ("FAILED", "CRASHED")
Json = Mapping[str, Any]


def prefect(setup: Setup) -> Iterator[Finding]:
    """Whether the flows are deployed, and their last runs ended well."""
    del setup  # a deployment may name a folder of configs
    address = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not address:
        raise Skipped("PREFECT_API_URL is not set; cron or a person may run `sli run`")
    found = [one for one in _ask(address, "deployments", {}) if FLOWS.search(str(one.get("entrypoint")))]
    if not found:
        yield warning(
            f"no deployment of the flows at {_place(address)}", "`prefect deploy --all`, or `python -m flows`"
        )
    for deployment in sorted(found, key=lambda one: str(one["name"])):
        yield from _deployment(address, deployment)


def _deployment(address: str, deployment: Json) -> Iterator[Finding]:
    name = f"deployment {deployment['name']}"
    schedules = [one for one in deployment.get("schedules") or () if one.get("active")]
    if deployment.get("paused"):
        yield warning(f"{name} is paused", f"resume it at {_place(address)}")
    runs = _ask(
        address,
        "flow_runs",
        {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED", "PENDING", "CANCELLED", "CANCELLING"]}}},
            "sort": "START_TIME_DESC",
            "limit": 1,
        },
    )
    late = _ask(
        address,
        "flow_runs",
        {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"name": {"any_": ["Late"]}}},
            "limit": 50,
        },
    )
    if late:
        pool = deployment.get("work_pool_name")
        todo = f"start its worker: `prefect worker start --pool {pool}`" if pool else "start `python -m flows`"
        yield warning(f"{name}: {counted(len(late), 'scheduled run')} late", todo)
    last = runs[0] if runs else None
    when = f", {str(last.get('start_time'))[:16]}Z" if last and last.get("start_time") else ""
    if last and last.get("state_type") in ENDED_BADLY:
        message = masked(str((last.get("state") or {}).get("message") or ""))[:200]
        why = f": {message}" * bool(message)
        yield warning(
            f"{name}: the last run {last.get('name')} {str(last['state_type']).lower()}{when}{why}",
            "see its logs in Prefect; the next run catches up by itself",
        )
    elif not late and not deployment.get("paused"):
        ended = f"the last run {str(last['state_type']).lower()}{when}" if last else "no run yet"
        yield ok(f"{name}: {counted(len(schedules), 'schedule')}, {ended}")


def _ask(address: str, what: str, wanted: Json) -> list[Json]:
    """What the server answers. Raises EngineError."""
    request = urllib.request.Request(f"{address}/{what}/filter", json.dumps(wanted).encode(), _headers())
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        todo = "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING" if error.code in (401, 403) else "check PREFECT_API_URL"
        raise EngineError(
            "Prefect refuses to answer", where=_place(address), found=f"{error.code}", todo=todo
        ) from error
    except (OSError, ValueError) as error:
        raise EngineError(
            "Prefect does not answer",
            where=_place(address),
            found=message_of(error),
            todo="start its server, or check PREFECT_API_URL; `sli run` works without it",
        ) from error
    return found if isinstance(found, list) else []


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PREFECT_API_KEY"):
        keep_secret(key)
        headers["Authorization"] = f"Bearer {key}"
    elif pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        keep_secret(pair)
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _place(address: str) -> str:
    """The host of the server: an address may have credentials."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}" + f":{parts.port}" * bool(parts.port)
