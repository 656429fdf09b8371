"""The scheduled run, hourly or nightly: bring the tables up to date with the logs, of one model or all of a folder.

It recomputes all that is stale, not only the hour it was scheduled for: so the next run catches up on a missed one, and
a run too many does nothing.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.model import recompute_model
from flows.parameters import Recompute, check_parameters, provisional_name
from flows.telling import best_effort, name_run, show_text
from flows.work import failed_state
from sli.calendar.interval import iso
from sli.calendar.zone import zone
from sli.command.answers import run_cells
from sli.command.models import Done, answered, by_cluster, summary_lines
from sli.config.load import load_config
from sli.config.model import Config
from sli.config.several import are_several, load_models
from sli.errors import FAILED, WARNED, WRONG_CONFIG, SliError
from sli.masking import masked
from sli.matching.execute import one_cluster
from sli.planning.as_of import as_of_instant


@flow(name="recompute", flow_run_name=provisional_name, description=__doc__, validate_parameters=False)
def recompute(job: Recompute) -> State[Any]:
    """Bring the tables up to date with the logs, as known now or at `as_of`."""
    try:
        # Prefect would answer a typing error with a traceback, so it does not check the parameters.
        job = check_parameters(Recompute, job)
        if are_several([job.config]):
            return _recompute_folder(job)
        config = load_config(job.config, job.settings)
        name_run(config.model, _interval(job), iso(as_of_instant(config.since_instant, config.zone, job.as_of)))
        recomputed = recompute_model(config, job)
    except SliError as error:
        return failed_state(error)
    # The run may have waited for another one, and then its as_of is later than its start.
    name_run(config.model, _interval(job), iso(recomputed.outcome.plan.as_of))
    return Completed(message=masked("\n".join([recomputed.first_line, *recomputed.warnings])))


def _interval(job: Recompute) -> str:
    return f"last {job.look_back}" if job.look_back else "all that is stale"


def _recompute_folder(job: Recompute) -> State[Any]:
    """Run the models of a folder one after another, also after one failed. Raises ConfigError if it has none."""
    folder, log = Path(job.config).resolve().name, get_run_logger()
    models, notes = load_models([job.config], job.settings)
    models = by_cluster(models)
    as_of = job.as_of.isoformat() if job.as_of else iso(as_of_instant(0, zone("UTC"), None))
    name_run(f"{folder}, {len(models)} models", _interval(job), as_of)
    recompute_one, done = functools.partial(_recompute_one, job), []
    for note in notes:
        log.info(note)
    with one_cluster():
        for number, model in enumerate(models, 1):
            log.info(f"{number} of {len(models)}: {model.name}")
            done.append(answered(model, recompute_one, lambda text: log.error(masked(text))))
    lines = summary_lines(done)
    log.info(masked("\n".join(lines)))
    with best_effort("the table of the models"):
        show_text(folder, "models", lines, lines[-1])
    failed = [f"{each.name}: {each.cells['outcome']}" for each in done if each.exit_code in (FAILED, WRONG_CONFIG)]
    if failed:
        return failed_state(SliError(lines[-1], others="\n".join(failed)))
    return Completed(message=masked(lines[-1]))


def _recompute_one(job: Recompute, config: Config) -> Done:
    """Run one of several models. Raises SliError."""
    recomputed = recompute_model(config, job)
    cells = run_cells(config, recomputed.outcome, recomputed.warnings)
    return Done(name=config.model, exit_code=WARNED if recomputed.warnings else 0, cells=cells)
