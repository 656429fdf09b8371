"""Prefect flows around `sli`: when it runs, what is retried, and what people see. No arithmetic.

May import `sli`; `sli` never imports this. Limit: nothing here is needed: `sli run` and `sli backfill` do the same.

- `parameters`: the parameters of the flows; `recompute`, `backfill`: the two flows; `model`: a run of one model
- `work`: the task that is retried; `telling`: names, progress, artifacts and events; `sinks`: what `export` names
- `serving`: a Prefect server and the schedules in one process (`python -m flows`)
- `naming`: names as Prefect allows them
"""
