"""The doctor: what is wrong with a set-up, what to do about it, and what the logs can mend.

May import `serve` and the wings below it, but not `command`. A check reads listings, footers and samples of rows; it
writes nothing but a probe, which it removes. Only `repair` writes to the store. Limit: what a sample does not show
stays unseen; `sli verify` recomputes.

- `finding`: what a check found; `setup`: what several checks look at, found once
- `examine`: all checks in their order: start here
- `logs`: paths, files, columns and times; `sample`, `ids`: which ids of a sample are joined, and why others are not
- `place`: rights to write, the clock and the space of the store
- `state`, `tables`: what is published, whether its files are all there, and whether tables agree with each other
- `damage`: what is wrong with the files of the tables; `repair`: what mends them
- `status`: how a store is, on one screen
- `machine`: memory and the cluster
- `sinks`: exports; `prefect_server`: deployments and their last runs
"""
