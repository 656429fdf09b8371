"""What people see of a run in Prefect: its name, progress, artifacts, log lines and events.

Limit: an artifact shows `ROWS` rows; the tables hold all of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pandas as pd
from prefect import get_client, get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.naming import slug
from sli.calendar.interval import iso
from sli.command.plain import change_rows, outcome_dict
from sli.command.standing import standing_markdown
from sli.command.text import warning_lines
from sli.config.model import Config
from sli.engine.storage import message_of
from sli.judging.breaches import breaches
from sli.judging.standing import standing
from sli.masking import masked, masked_tree
from sli.publishing.store import Store
from sli.report.page import write_report
from sli.runs.outcome import Outcome

ROWS = 500
"""Rows of a table artifact."""
STEPS = {
    "matching": (0.0, 0.7),
    "looking for the predictions of unmatched feedback": (0.7, 0.0),
    "adding up days": (0.7, 0.02),
    "rolling up": (0.72, 0.2),
    "comparing": (0.92, 0.03),
    "writing": (0.95, 0.05),
}
"""The share of the work done when a step begins, and the share that the step does; other steps count as 0."""
REPORT = "report.html"
"""The page of a model, in the folder of its store."""
PAUSE = 2.0
"""Seconds between two updates of the progress."""


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Log an error of showing something instead of raising it: work must not fail if the Prefect server is away."""
    try:
        yield
    except Exception as error:
        get_run_logger().warning("%s could not be shown: %s: %s", what, type(error).__name__, message_of(error))


def name_run(model: str, interval: str, as_of: str) -> None:
    """Name the flow run after model, interval and as_of."""
    with best_effort("the name of the run"), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.get_id()), name=f"{model}, {interval}, as of {as_of}")


class Progress:
    """A progress artifact that never goes back."""

    def __init__(self, config: Config) -> None:
        key = f"{slug(config.model)}-progress"
        self.shown, self.updated, self.part, self.parts = 0.0, time.monotonic(), 0, 1
        self.artifact: UUID | None = None
        with best_effort("progress"):
            artifact = create_progress_artifact(0.0, key=key, description="reading the listings")
            assert isinstance(artifact, UUID)
            self.artifact = artifact

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of a step are done."""
        first, length = STEPS.get(what, (0.0, 0.0))
        share = 100 * (self.part + first + length * done / max(1, total)) / self.parts
        # The start of a step is shown at once, because it may take long.
        if share >= self.shown and (done == 0 or time.monotonic() - self.updated > PAUSE):
            counted = f": {done} of {total}" if total > 1 else ""
            self._show(share, what + counted + f", part {self.part + 1} of {self.parts}" * (self.parts > 1))

    def part_done(self, number: int, parts: int) -> None:
        """Show that `number` of `parts` parts of a backfill are done."""
        self.part, self.parts = number, parts
        self._show(100 * number / parts, f"{number} of {parts} parts done")

    def finish(self) -> None:
        self._show(100.0, "done")

    def fail(self, what: str) -> None:
        self._show(self.shown, f"failed: {masked(what)}")

    def _show(self, share: float, text: str) -> None:
        # A retry begins at 0, but progress that was shown must not go back.
        self.shown, self.updated = max(self.shown, share), time.monotonic()
        if self.artifact is not None:
            with best_effort("progress"):
                update_progress_artifact(self.artifact, progress=round(self.shown, 1), description=text)


@contextmanager
def forward_logs() -> Iterator[None]:
    """Forward what tasks log, here or on Dask workers, to the log of the flow run."""
    log = logging.getLogger("sli")
    handler = _ToRun(get_run_logger())
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _ToRun(logging.Handler):
    def __init__(self, run: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        super().__init__()
        self.run = run

    def emit(self, record: logging.LogRecord) -> None:
        self.run.log(record.levelno, masked(record.getMessage()))


def show_outcome(
    config: Config, changes: pd.DataFrame, lines: Sequence[str], warnings: Sequence[str], progress: Progress
) -> None:
    """Log what a run says and warns about, show what it changed and how good the model is now, and end the progress."""
    log = get_run_logger()
    log.info(masked("\n".join(lines)))
    for line in warnings:
        log.warning(masked(line))
    with best_effort("the outcome"):
        show_changes(config, changes, lines[0])
        show_latest(config, [*lines, *warnings])
    progress.finish()


def show_changes(config: Config, changes: pd.DataFrame, what: str) -> None:
    """The table artifact: window, slice, SLI, old value, new value, cause."""
    changes = changes[changes.cause != "matured"]
    rows = change_rows(changes, config, ROWS)
    more = f"; {ROWS} of {len(changes):,}, all in the table `revisions`" if len(changes) > ROWS else ""
    if rows:
        create_table_artifact(rows, key=f"{slug(config.model)}-changes", description=f"{what}{more}")


def show_latest(config: Config, lines: Sequence[str]) -> None:
    """The markdown artifact: what the run printed, then how good the model is now."""
    published = Store(config.store, config.storage).published()
    if published is None:
        return
    report = masked("\n".join(lines))
    title = f"## {config.model}, as of {iso(published.as_of)}"
    text = f"{title}\n\n```text\n{report}\n```\n\n{masked(standing_markdown(standing(config)))}\n"
    create_markdown_artifact(text, key=f"{slug(config.model)}-latest", description="how good the model is now")


def publish_report(config: Config, failure: BaseException | None = None) -> None:
    """Write the page of the model beside its tables, and link it; `failure` is why the run failed, if it did.

    A page that cannot be written is a warning, and the run goes on.
    """
    with best_effort("the report"):
        cause = None if failure is None else f"The last run failed: {message_of(failure)}"
        written = write_report(config, f"{config.store.rstrip('/')}/{REPORT}", failure=cause)
        link = written.path if "://" in written.path else Path(written.path).absolute().as_uri()
        create_link_artifact(link, link_text=REPORT, key=f"{slug(config.model)}-report", description=written.line)


def show_text(of: str, what: str, lines: Sequence[str], description: str) -> None:
    """A markdown artifact that shows lines as they are: of a model, or of a folder of configs."""
    text = masked("\n".join(lines))
    create_markdown_artifact(f"```text\n{text}\n```", key=f"{slug(of)}-{what}", description=description)


def emit_run(config: Config, outcome: Outcome) -> None:
    """An event for a publication, and one for the warnings of its run."""
    model = {"prefect.resource.id": f"sli.model.{slug(config.model)}", "prefect.resource.name": config.model}
    values = outcome_dict(outcome)
    run = {"model": config.model, "run_id": outcome.run_id, "as_of": iso(outcome.plan.as_of)}
    if outcome.published:
        names = ("tiles_recomputed", "results_revised", "causes", "seconds")
        emit_event("sli.run.published", model, payload=run | {name: values[name] for name in names})
    if warnings := warning_lines(outcome):
        emit_event("sli.audit.bad_input", model, payload=run | {"set_aside": masked_tree(warnings)})


def emit_breaches(config: Config, changes: pd.DataFrame, as_of: int) -> None:
    """An event for each SLI with windows that breach its objective and did not before."""
    for name, breach in breaches(changes, config.timezone).items():
        resource = {
            "prefect.resource.id": f"sli.model.{slug(config.model)}.{slug(name)}",
            "prefect.resource.name": f"{config.model}: {name}",
        }
        emit_event(
            "sli.objective.breached",
            resource,
            payload={"model": config.model, "as_of": iso(as_of), "sli": name, **breach},
        )
