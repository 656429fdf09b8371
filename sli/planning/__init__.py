"""What a run does and why, decided before it does anything.

A pure function makes the plan from the config, the files of the logs, the published state and the request. It reads no
rows and writes nothing; `sli plan` prints the plan, and `run` and `backfill` execute the same object.

The rule for late feedback is in `late_feedback`, and nowhere else: what the horizon is, which feedback counts, and when
a window is final. `ledger` applies it to tiles: a final tile changes only by a backfill.

- `request`: what the user asks for; `as_of`: checks the as_of of a run
- `published`, `formats`: the state that the last run left, and the format of the store
- `listing`: which folders of the logs a run lists
- `changes`: what happened to the files since then, and which of them hold new rows
- `late_feedback`: the rule for late feedback; `reach`: the rule for duplicates, and how far around a row its id matters
- `extent`: which SLIs, grains and slice sets have results; `needs`: what tiles need, as one value
- `ledger`: which tiles the changes make stale, what a run does of what tiles need, and what it leaves
- `costs`: whether amending tiles by new rows is cheaper than recomputing them
- `tasks`: how the work is cut into tasks that fit their memory
- `stages`: what a run executes, in its order; `plan`: the plan as data; `planner`: makes it
- `idle`: until when the next run finds nothing to do
- `expected`: an estimate of how many results a plan writes

Imports `logs` and the wings below it; never `matching` or a wing above.
"""
