"""The join: finds each prediction's feedback, and runs the tasks that do so, in this process or on Dask.

Which feedback is in time is the rule of `planning.late_feedback`; `duplicates` settles which of several rows counts.

- `spec`: what a task needs to know of the config
- `sides`: the rows of both logs that a task has; invalid ones are set aside
- `join`: the join of a task
- `duplicates`: ids that occur more than once in a task; `other_tiles`: predictions that lose to one in another tile
- `pairs`: what SLIs see: each prediction with its label
- `unmatched`: why feedback counts for no prediction (`orphan`, `late`, ...)
- `id_index`: where each id of both logs lies: what `other_tiles`, `unmatched` and `tiles.amend` look up
- `cluster`: where tasks run; `execute`: runs them and returns their results

Imports `planning` and the wings below it. Only `cluster`, `execute` and `tiles.shuffle` import Dask.
"""
