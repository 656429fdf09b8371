"""What changed since the last run, and the one commit that makes it visible.

It may import `rollup` and the wings below it. It must not import `runs`, `reading` or `command`. It is the only wing
that imports `deltalake`, and the only one that writes rows to the store.

- `delta_tables`: opens, creates, reads and writes tables; the one module that knows Delta Lake.
- `power_loss`: the log of a table in a folder: forced to the disk in order, and mended after a power loss.
- `parquet_files`: the files of a write, one after another.
- `store`: what is published under one root.
- `transaction`: the writes of one run, and their one commit.
- `rows`: the forms of result rows: flat, stored, and pandas.
- `tile_rows`, `published_rows`: the tiles and results that a run works with, read some at a time, on workers too.
- `diff`: what the rolled-up rows change of the published ones.
- `audit`: the rows and files that did not count, and why.
- `conflicts`: days with too many rows of one id that contradict each other.
- `history`: results as known at an earlier instant, and what backfills changed.
- `mending`: what is published, published again without damaged tables.
- `thinning`: which revisions stay of those older than `history`.
- `past`: the publication believed at an earlier instant, whose tiles can still be read.
- `turns`: one run at a time works on a store.
- `ids`: the index of ids in the store.
- `unchanged`: whether the next run finds nothing to do, told without reading a table.
- `files_seen`: what a run changes in the table of the files that it saw.
- `commit`: what a run writes to each table, and the state for the next plan.
"""
