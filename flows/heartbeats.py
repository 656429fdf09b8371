"""An automation of the Prefect server: a flow run whose process is gone without a word becomes `Crashed`.

A worker that is killed together with its flow tells nobody, and the run would be `Running` for ever.

Limit: it says how a run ended, after `SILENCE`; the concurrency slot is free before, when its lease ends.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

NAME = "sli: flow runs that ended without a word"
TAG = "sli"
"""The tag of the deployments, so that flow runs of others are left alone."""
SILENCE = timedelta(minutes=10)
"""More than three times Prefect's interval between heartbeats, so that a server that restarts crashes no run."""
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDED = ("Completed", "Failed", "Cancelled", "Crashed")


def watch_heartbeats() -> None:
    """Make the automation, or bring the one that is there up to date. Raises what Prefect's client raises."""
    automation = AutomationCore(
        name=NAME,
        description="The process of a flow run is gone: it sends no heartbeats. The next run catches up.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in ENDED)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"no heartbeat for {SILENCE.total_seconds():.0f} s: the process of this run is gone, "
                "and the next run catches up",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        [*before] = client.read_automations_by_name(NAME)
        if before:
            client.update_automation(before[0].id, automation)
        else:
            client.create_automation(automation)


if __name__ == "__main__":
    watch_heartbeats()
    print(f"Automation '{NAME}' successfully made")
