"""What a flow publishes, sent to the sinks of the config. A sink that fails is a warning and an event.

Limit: it is not retried here; the next run sends what a sink lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.events import emit_event

from flows.naming import slug
from flows.telling import best_effort
from sli.config.model import Config
from sli.export.after import export_published
from sli.runs.outcome import Outcome


def send_to_sinks(config: Config, runs: Sequence[Outcome]) -> list[str]:
    """Send what runs published, and return a warning for each sink that failed."""
    not_sent = list(export_published(config, runs))
    if not_sent:
        resource = {"prefect.resource.id": f"sli.model.{slug(config.model)}", "prefect.resource.name": config.model}
        with best_effort("the event of a sink that failed"):
            emit_event("sli.export.failed", resource, payload={"model": config.model, "not_exported": not_sent})
    return not_sent
