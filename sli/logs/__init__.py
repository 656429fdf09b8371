"""What is in the logs: which files there are, what their footers say, and their rows.

Imports `config` and the wings below it. Never knows what was published, and never writes to a log.

`paths`: the files that the paths of a log name.
`listing`: these files as lists, with sizes and fingerprints.
`folder_dates`: folders named by dates; `dated`: the week until which one matters.
`folders`, `remote`: the files of local folders, and of other file systems.
`storage`: all that a run asks of the storage of the logs.
`globs`: paths with patterns.
`tables`, `iceberg`: the files of the current snapshot of a Delta or Iceberg table.
`conversion`: how files of other kinds become Parquet.
`files`: the files of both logs as columns, and one file as an object.
`pages`: where the pages of a file are, and whether their checksums are right.
`byte_ranges`: a remote file with some bytes already fetched.
`fields`: what a FIELD of the config means in a file: a column, a part of one, or SQL.
`log`: one log as the config describes it.
`where`: which rows exist, and which folders and groups of rows cannot have any.
`times`, `values`: time, id and value of a row in SQL.
`types`, `time_ranges`, `footer`: what the footer of one file says, and why a file cannot be used.
`contradictions`: what a footer says that cannot be true.
`agreement`: files whose types disagree with most others are set aside.
`discovery`: all of this for both logs: start here.
`selection`: which columns and rows of a file the next query reads.
`prefetch`: fetches the needed bytes of many remote files for DuckDB.
`reader`: SQL for the rows of files in a span of time.
`damaged`: why a file that a query failed on cannot be read.
"""
