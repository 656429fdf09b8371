"""One worker and two, and what the plan of 1,000 workers and a billion predictions a day would cost its driver.

    python tests/bench/scaling.py --predictions 10000000

Measured: a full recompute by one and by two worker processes; what a task costs a real scheduler, from thousands of
tasks that do nothing but carry what ours carry; what a tile takes. Then the plan of the large service is made
by the very code that plans, of files that are not there, and counted. Limit: on paper beyond this machine.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from full import ENVIRONMENT, HERE
from measure import config, generated, machine, measured, record, spread

DAY, HOUR = 86_400_000_000, 3_600_000_000
MEMORY = ("1GiB", "512MiB")
"""Of a task: 10 million predictions make some co-located tasks, and a shuffle."""
PAPER = {"workers": 1_000, "daily": 1_000_000_000, "files_an_hour": 100, "days": 30, "memory": "8GiB", "slices": 1_000}
PAIRS = PAPER["daily"] // 24 // PAPER["slices"]
"""Of a tile of the large service."""


def by_workers(logs: Path, rounds: int, memory: str) -> dict[str, Any]:
    """A full recompute by 1 and by 2 worker processes, by turns."""
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, runs in found.items():
            more = json.dumps({"dask": {"workers": workers}, "memory": memory})
            script = HERE / "peers" / "by_sli.py"
            runs.append(measured(script, str(logs), "plain", "/dev/null", more, env=ENVIRONMENT))
            print(f"{memory} a task, {workers} workers: {runs[-1]['seconds']:.1f} s", flush=True)
    first = found[1][0]
    seconds = [spread(each["seconds"] for each in runs) for runs in found.values()]
    return {
        "memory": memory,
        "strategy": first["strategy"],
        "tasks": first["tasks"],
        "one": seconds[0],
        "two": seconds[1],
    }


def nothing(*_: Any) -> None:
    """A task without its work."""


def scheduled(tree: dict[str, Any], chunk: Any, spec: Any, excluded: Any, tasks: int) -> dict[str, float]:
    """Seconds that each further task costs the driver, the scheduler and two workers, all on this machine."""
    from sli.config.load import checked
    from sli.matching.execute import execute

    workers = checked({**tree, "dask": {"workers": 2}})
    seconds = {}
    for count in (10, tasks):
        began = time.perf_counter()
        execute(workers, [functools.partial(nothing, chunk, spec, excluded)] * count, lambda *_: None)
        seconds[count] = time.perf_counter() - began
    return {"tasks": tasks, "seconds_a_task": (seconds[tasks] - seconds[10]) / (tasks - 10)}


def on_paper(tree: dict[str, Any], predictions: int) -> dict[str, Any]:
    """The plans of the large service: all of its days, and one of them."""
    import cloudpickle

    from sli.calendar.interval import Interval
    from sli.config.load import checked
    from sli.logs.discovery import discover
    from sli.logs.files import Files, Inputs, LogFile
    from sli.planning.tasks import task_sets

    chosen = checked({**tree, "dask": {"workers": PAPER["workers"]}, "memory": PAPER["memory"]})
    seen = discover(chosen)
    since, step = chosen.since_instant, HOUR // PAPER["files_an_hour"]

    def made(files: Files, name: str) -> Files:
        """Files of the same bytes a row, every one of its few seconds."""
        rows = sum(each.rows for each in files) / predictions * PAPER["daily"] / 24 / PAPER["files_an_hour"]
        size = sum(each.row_bytes * each.rows for each in files) / sum(each.rows for each in files)
        starts = range(since, since + PAPER["days"] * DAY, step)
        return Files.of(
            LogFile(
                name,
                f"s3://bucket/{name}/date=2026-01-01/hour=00/{start}.parquet",
                f"{start}",
                int(rows * size),
                int(rows),
                ranges=((start, start + step - 1),),
                row_bytes=size,
                columns=files.kinds.all[0],
            )
            for start in starts
        )

    inputs = Inputs(made(seen.predictions, "predictions"), made(seen.feedback, "feedback"))
    end = since + PAPER["days"] * DAY
    cases = {"all": Interval(since, end), "day": Interval(end - DAY, end)}
    found = {}
    for name, interval in cases.items():
        began = time.perf_counter()
        (job,) = task_sets(chosen, inputs, [interval], [], chosen.states, chosen.slice_sets)
        seconds = time.perf_counter() - began
        given = job.shuffle.pieces if job.shuffle else job.tasks
        found[name] = {
            "strategy": job.strategy,
            "tasks": tasks_of(job),
            "blocks": job.shuffle.partitions * (len(given) + len(job.shuffle.edges) + 1) if job.shuffle else 0,
            "plan_seconds": seconds,
            "graph_mb": sum(len(cloudpickle.dumps(each)) for each in given) / 1e6,
            "read_gb": (job.estimate.read_once if job.shuffle else job.estimate.read_apart) / 1e9,
            "wide": len(given),
            "built_by": job.built_by,
            "tiles": (interval.end - interval.start) // HOUR * PAPER["slices"],
            **rolled_up(interval, end),
        }
    return {**PAPER, "log_gb": sum(f.bytes for f in inputs.files) / 1e9, "plans": found}


def rolled_up(changed: Any, newest: int) -> dict[str, int]:
    """The tasks of the roll-up of 12 SLIs after these hours changed, and how many results they compute at most."""
    from peers.whole_sli import GRAINS, SLICE_BY, SLIS

    from sli.config.load import checked
    from sli.planning.stages import Group, RollUp
    from sli.runs.stretches import SliceCounts, stretches_of

    size = {"dask": {"workers": PAPER["workers"]}, "memory": PAPER["memory"]}
    chosen = checked(config(Path("/logs"), Path("/store"), slis=SLIS, slice_by=SLICE_BY, grains=GRAINS, **size))
    names = tuple(sli.name for sli in chosen.declared)
    group = Group(slis=names, everywhere=False, filled=(), waits_for=(), reference=None)
    stage = RollUp(groups=(group,), changed=(changed,), new_grains=(), newly_final=None)
    windows = list(stage.windows(chosen, group, newest, newest))
    days = np.arange(chosen.since_instant, newest, DAY)
    slices = {("region", f"{number:04}"): len(days) for number in range(PAPER["slices"])}
    counts = SliceCounts(np.repeat(days, len(slices)), slices)
    stretches = stretches_of(chosen, [(chosen.declared, windows)], counts, {})
    results = sum(len(starts) for _, starts, _ in windows) * len(slices) * len(names)
    return {"stretches": len(stretches), "results": results}


def tasks_of(job: Any) -> int:
    """Tasks the scheduler sees: of a shuffle those that read and send, settle and send, receive and make tiles."""
    if job.shuffle is None:
        return len(job.tasks)
    pieces, partitions, stretches = len(job.shuffle.pieces), job.shuffle.partitions, len(job.shuffle.edges) + 1
    return 2 * pieces + 3 * partitions + 2 * stretches + 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=3_000)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = ENVIRONMENT["PYTHONPATH"]  # workers import this file, and with it all of these
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        logs = generated(given.folder or Path(temporary), "--predictions", str(given.predictions))
        tree = config(logs, Path(temporary) / "store")
        measured_here = [by_workers(logs, given.rounds, memory) for memory in MEMORY]
        constants = constants_of(tree, given.tasks) | tile_bytes(Path(temporary))
        paper = on_paper(tree, given.predictions)
    for name, plan in paper["plans"].items():
        print(f"{name}: {plan}")
    figures = {"predictions": given.predictions, "workers": measured_here, "constants": constants, "paper": paper}
    print(record("scaling", figures))


def constants_of(tree: dict[str, Any], tasks: int) -> dict[str, Any]:
    """What a task takes."""
    import pickle

    from sli.calendar.interval import Interval
    from sli.config.load import checked
    from sli.logs.discovery import discover
    from sli.matching.spec import Spec
    from sli.planning.tasks import task_sets
    from sli.schemas import TILES

    chosen = checked(tree)
    since = chosen.since_instant
    (job,) = task_sets(chosen, discover(chosen), [Interval(since, since + DAY)], [], chosen.states, chosen.slice_sets)
    spec = Spec.of(chosen, since + 60 * DAY, job.states, job.slice_sets, 1)
    excluded = TILES.empty_table()
    cost = scheduled(tree, job.tasks[0], spec, excluded, tasks)
    task = functools.partial(nothing, job.tasks[0], spec, excluded)
    here = machine(())
    return {**cost, "task_bytes": len(pickle.dumps(task)), "on": f"{here['date']}, {here['cpu']}"}


def tile_bytes(folder: Path) -> dict[str, float]:
    """Bytes of a tile of the large service with the states of 12 SLIs, and of what the driver has of it."""
    from peers.whole_sli import SLIS

    import sli
    from sli.config.load import checked
    from sli.publishing.store import Store
    from sli.tiles.replace import outline

    logs = generated(folder, "--predictions", str(24 * PAIRS), "--days", "1")
    chosen = checked(config(logs, folder / "one-day", slis=SLIS))
    sli.run(chosen, as_of="2026-06-01")
    store = Store(chosen.store)
    tiles = store.rows("tiles", store.published())
    small = outline(tiles, chosen.states)
    return {"tile_bytes": tiles.nbytes / len(tiles), "outline_bytes": small.nbytes / len(small)}


if __name__ == "__main__":
    main()
