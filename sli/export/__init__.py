"""Export: what is published, sent to where dashboards and analysts are. The store stays the only truth.

May import `reading` and the wings below it; not `command`. It is the only wing that imports `psycopg`. A sink keeps in
itself how far it has come, so that after any number of missed runs the next one sends what is missing.

- `after`: after a run, to each sink of the config
"""
