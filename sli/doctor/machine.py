"""What a run needs besides its logs: the code that the config names, memory for its largest task, and the cluster.

Limit: the estimate is that of the plan. A cluster that a factory starts is not started.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

from sli.config.sections import Factory, Scheduler
from sli.doctor.finding import Finding, Skipped, ok, problem, warning
from sli.doctor.setup import Setup
from sli.engine.machine import machine_memory
from sli.matching.cluster import lack_of_memory
from sli.matching.execute import check_cluster, cluster_client
from sli.planning.tasks import size_text
from sli.reading.figures import counted
from sli.runs.preview import current_plan, request_of
from sli.tiles.dry_run import check_code, load_code


def code(setup: Setup) -> Iterator[Finding]:
    """Whether the Python code that the config names can be imported, where that is allowed."""
    config = setup.config
    named = [sli.name for sli in config.declared if "python" in sli.declaration]
    if not named and not isinstance(config.dask, Factory):
        raise Skipped("the config names no Python code")
    check_code(config.declared, config.dask)
    load_code(config.declared)
    yield ok(f"{', '.join([*named, *(['the factory of the cluster'] * isinstance(config.dask, Factory))])}: found")


def memory(setup: Setup) -> Iterator[Finding]:
    """Whether the tasks of the next run fit the memory that they may use, and that this machine has."""
    config = setup.config
    request = request_of(config.since_instant, config.zone, None, None, future=False, full_listing=True)
    plan = current_plan(config, request)
    here = not isinstance(config.dask, Scheduler | Factory)
    tasks = config.parallel if here and config.dask != "in-process" else 1
    findings = []
    if here and config.task_memory * tasks > machine_memory():
        may = f"{counted(tasks, 'task')} at once may use {size_text(config.task_memory)} each"
        findings.append(
            problem(
                f"{may}, and this machine has {size_text(machine_memory())}",
                f"set `memory: {max(64, machine_memory() // tasks // 2 >> 20)}MB` or less, or fewer workers",
            )
        )
    largest = max((tasks.estimate.largest for tasks in plan.task_sets if not tasks.shuffle), default=0)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if here and largest > config.task_memory and largest > free:
        findings.append(
            warning(
                f"the largest task of the next run needs about {size_text(largest)}, may use "
                f"{size_text(config.task_memory)}, and only {size_text(free)} are free at {tempfile.gettempdir()}",
                "set `memory:` higher, or TMPDIR to a disk with room",
            )
        )
    yield from findings
    if not findings:
        work = f"reads {size_text(plan.bytes)}" if plan.bytes else "reads no rows"
        needs = f", its largest task needs about {size_text(largest)} of {size_text(config.task_memory)}" * bool(
            largest
        )
        yield ok(f"the next run {work}{needs}")


def cluster(setup: Setup) -> Iterator[Finding]:
    """Whether the scheduler answers, and its workers have our versions and enough memory."""
    config = setup.config
    if isinstance(config.dask, Factory):
        check_cluster(config)
        raise Skipped("a factory starts the cluster; it can be called, and a run checks the workers")
    if not isinstance(config.dask, Scheduler):
        raise Skipped("tasks run on this machine")
    with cluster_client(config, 1) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if lack := lack_of_memory(config.task_memory, client):
            yield warning(*lack)
        else:
            yield ok(f"{counted(len(workers), 'worker')} at {config.dask.scheduler}, with our versions")
