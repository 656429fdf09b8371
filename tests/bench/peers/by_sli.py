"""sli: one run from nothing; the tables it publishes are read back afterwards, for the comparison."""

import json
import sys
import tempfile
import time
from pathlib import Path

from measure import config
from windows import report

import sli
import sli.recompute
from sli.loading import checked

logs, scenario, _, *more = sys.argv[1:]
with tempfile.TemporaryDirectory(prefix="sli-bench-") as store:
    by = {"slice_by": [[], ["region"]]} if scenario == "settled" else {}
    chosen = checked(config(Path(logs), Path(store), **by, **json.loads(more[0] if more else "{}")))
    began = time.perf_counter()
    outcome = sli.run(chosen, as_of="2026-06-01")
    seconds = time.perf_counter() - began
    found = {"hour": {}, "day": {}, "cumulative": {}}
    frame = sli.read(chosen)
    frame = frame[frame.grain.isin(list(found))]
    for row in frame.itertuples():
        key = f"{int(row.window_end.timestamp())}|{row.slice.get('region', '')}"
        figures = found[row.grain].setdefault(key, [row.predictions, row.labelled, None, None, None])
        figures[2 + ("accuracy", "precision", "recall").index(row.sli)] = None if row.value != row.value else row.value
report(found, seconds=seconds, tasks=sum(len(job.chunks) for job in outcome.plan.jobs))
