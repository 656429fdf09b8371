"""SQL over what is published: one SELECT statement over ready views, in a DuckDB that reads nothing else.

- `views`: the views, and the SQL that makes them from the tables
- `statement`: whether a text is one SELECT over these views
- `files`: in which times the windows of a file lie, so that files that cannot matter stay closed
- `execute`: runs a statement, and gives its rows in batches
"""
