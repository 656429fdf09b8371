"""What a flow publishes, sent to the sinks of the config. A sink that fails is a warning and an event.

Limit: it is not retried here; the next run sends what a sink lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger
from prefect.events import emit_event

from flows.naming import slug
from flows.telling import best_effort
from sli.config.model import Config
from sli.export.after import export_failure, export_published
from sli.runs.outcome import Outcome


def send_to_sinks(config: Config, runs: Sequence[Outcome]) -> list[str]:
    """Send what runs published, and return a warning for each sink that failed."""
    return _told(config, export_published(config, runs))


def tell_failure(config: Config, error: BaseException) -> None:
    """Tell those who want to know that a run failed, and log who was not told."""
    for warning in _told(config, export_failure(config, error)):
        get_run_logger().warning(warning)


def _told(config: Config, not_sent: Sequence[str]) -> list[str]:
    """The warnings, with an event for them."""
    if not_sent:
        resource = {"prefect.resource.id": f"sli.model.{slug(config.model)}", "prefect.resource.name": config.model}
        with best_effort("the event of a sink that failed"):
            emit_event("sli.export.failed", resource, payload={"model": config.model, "not_exported": list(not_sent)})
    return list(not_sent)
