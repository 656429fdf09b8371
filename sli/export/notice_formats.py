"""A notice as those receivers want it that take no other JSON: Slack, PagerDuty, Alertmanager.

Each format is the least that its receiver accepts. Limit: none is ever taken back: what a later run mends ends by hand,
in Alertmanager after a day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from sli.config.export_sections import Webhook
from sli.export.notice import Notice

Body = object
"""What is sent as JSON."""
SUMMARY = 1024
"""The longest summary that PagerDuty takes, in characters."""
LASTS = timedelta(days=1)
"""How long Alertmanager keeps an alert that no later notice repeats."""
CRITICAL = {"breached", "failed"}


def body_of(notice: Notice, webhook: Webhook) -> bytes:
    """The body of a request, the same for the same notice."""
    return json.dumps(FORMATS[webhook.format](notice, webhook), ensure_ascii=False, separators=(",", ":")).encode()


def _json(notice: Notice, _: Webhook) -> Body:
    return notice.document()


def _slack(notice: Notice, _: Webhook) -> Body:
    """A message: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""
    text = f"*{notice.model}*\n{notice.text}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def _pagerduty(notice: Notice, webhook: Webhook) -> Body:
    """An event: https://developer.pagerduty.com/docs/send-alert-event. Equal problems later join its incident."""
    names = [str(breach["sli"]) for breach in notice.breached]
    problem = json.dumps([notice.model, [event for event in notice.events if event != "published"], names])
    return {
        "routing_key": webhook.routing_key,
        "event_action": "trigger",
        "dedup_key": f"sli-{hashlib.sha256(problem.encode()).hexdigest()[:32]}",
        "payload": {
            "summary": f"{notice.model}: {notice.text}"[:SUMMARY],
            "source": notice.model,
            "severity": "critical" if CRITICAL & {*notice.events} else "warning",
            "timestamp": notice.time,
            "custom_details": notice.document(),
        },
    }


def _alertmanager(notice: Notice, webhook: Webhook) -> Body:
    """Alerts: https://prometheus.io/docs/alerting/latest/alerts_api, to be posted to /api/v2/alerts."""
    begin = datetime.fromisoformat(notice.time)
    times = {"startsAt": begin.isoformat(), "endsAt": (begin + LASTS).isoformat()}
    return [
        {"labels": labels, "annotations": {"summary": f"{notice.model}: {line}"}, **times}
        for labels, line in _alerts(notice, webhook)
    ]


def _alerts(notice: Notice, webhook: Webhook) -> Iterator[tuple[Mapping[str, str], str]]:
    """The labels of each alert and its line: one for each SLI that is breached, and for each other event asked for."""
    for event in (event for event in notice.events if event in webhook.events):
        severity = "critical" if event in CRITICAL else "info" if event == "published" else "warning"
        labels = {"alertname": f"sli_{event}", "model": notice.model, "severity": severity}
        lines = [line for about, line in notice.lines if about == event]
        if event == "breached":
            names = [str(breach["sli"]) for breach in notice.breached]
            yield from (({**labels, "sli": name}, line) for name, line in zip(names, lines, strict=True))
        else:
            yield labels, "; ".join(lines)


FORMATS: dict[str, Callable[[Notice, Webhook], Body]] = {
    "json": _json,
    "slack": _slack,
    "pagerduty": _pagerduty,
    "alertmanager": _alertmanager,
}
