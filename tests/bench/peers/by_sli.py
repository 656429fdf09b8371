"""sli: one run from nothing; the tables it publishes are read back afterwards, for the comparison."""

import json
import sys
import tempfile
import time
from pathlib import Path

from measure import config
from windows import Windows, report

import sli
import sli.runs.recompute
from sli.config.load import checked
from sli.config.model import Config

SLIS = ("accuracy", "precision", "recall")


def read(chosen: Config) -> Windows:
    """What is published, in the form of all peers."""
    found: Windows = {"hour": {}, "day": {}, "cumulative": {}}
    frame = sli.read(chosen)
    for row in frame[frame.grain.isin(list(found))].itertuples():
        key = f"{int(row.window_end.timestamp())}|{row.slice.get('region', '')}"
        figures = found[row.grain].setdefault(key, [row.predictions, row.labelled, None, None, None])
        figures[2 + SLIS.index(row.sli)] = None if row.value != row.value else row.value
    return found


if __name__ == "__main__":
    logs, scenario, _, *more = sys.argv[1:]
    by = {"slice_by": [[], ["region"]]} if scenario == "settled" else {}
    settings = json.loads(more[0]) if more else {}
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as store:
        chosen = checked(config(Path(logs), Path(store), **by, **settings))
        began = time.perf_counter()
        outcome = sli.run(chosen, as_of="2026-06-01")
        seconds = time.perf_counter() - began
        (job,) = outcome.plan.task_sets
        report(read(chosen), seconds=seconds, strategy=job.strategy, tasks=job.task_count)
