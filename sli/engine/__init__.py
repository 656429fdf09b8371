"""The machinery below everything else: DuckDB, Arrow, storage, signals and this machine.

Imports `calendar` and the root modules. Knows nothing of SLIs, configs, logs or tables.

`machine`: memory and cores.
`storage`: file systems and credentials by URL.
`thrift`: decodes the footers of Parquet files.
`arrow`: columns to NumPy and back, columns of lists.
`sql`: quoting, and pieces of SQL.
`connection`: a database of a task, its memory and its errors.
`functions`, `expression`: which SQL a config may hold, and the check of it.
`interrupts`: signals end a query.
`ahead`: the next item is computed while one is used.
`trust`: whether a user's code may run.
`remote_files`: remote files of the store for DuckDB.
`panics`: keeps a library's panic off the terminal where the disk is full.
"""
