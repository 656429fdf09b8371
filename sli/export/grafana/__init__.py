"""Grafana: a dashboard over the tables in PostgreSQL, with the four questions of the page, and its provisioning.

Made by code and by no hand, as plain mappings: Grafana's own library for this weighs 12 MB and only renames the keys,
so it is what the tests read the dashboard back with. Limit: no test starts Grafana.

- `queries`: the SQL of each panel and variable; `panels`: how a panel shows it
- `dashboard`: the panels in their order; `provisioning`: the files
"""
