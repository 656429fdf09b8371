"""Tiles: the mergeable states of one hour and slice, computed from all its pairs or amended by new rows.

Imports `matching` and the wings below it. Must not know windows longer than an hour (except for the values of Python
functions), or the results tables.

In the order of the data: `dry_run` checks SQL and code before any work; `build` matches the rows of a task and computes
its tiles, with the SQL of `aggregate` and the `python_functions`; `shuffle` does the same where rows must travel;
`replace` puts recomputed tiles in the place of stored ones. Where only new rows count instead: `amend` finds what they
contribute, and `delta` and `audit_delta` update stored tiles by it.
"""
