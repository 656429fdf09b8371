"""Maintenance: what keeps a store small. Removes files that no reader can need any more, and trims the tables' logs.

It may import `publishing` and the wings below it. It must not import `runs`, `reading` or `command`. Merging small
files is part of a commit, so `publishing` does it.

- `table_log`: the log of a table: its commits and checkpoints, and which files they add and remove.
- `reachable`: the publications that a reader can still need, and so the oldest version of each table.
- `removal`: the files that can be removed, and their removal.
- `upkeep`: maintenance after a run, bounded; and all of it at once.
- `sizes`: the files and bytes of each table.
"""
