"""Export: what is published, sent to where dashboards and analysts are. The store stays the only truth.

May import `report` and the wings below it; not `command`. It is the only wing that imports `psycopg`. A sink keeps in
itself how far it has come, so that after any number of missed runs the next one sends what is missing.

- `after`: after a run, to each sink of the config; `extras`: packages that a sink needs
- `postgres/`: tables in PostgreSQL; `grafana/`: a dashboard over them
- `prometheus`: the newest windows as Prometheus scrapes them; `textfile`: the file for node_exporter
- `rules`: alerts and recordings for Prometheus, from the config
- `openmetrics`: all windows with time stamps, for blocks of Prometheus
- `samples`: windows as samples; `chosen`: which windows; `replacing`: files that are complete or not there
- `notice`: the outcome of a run as a small document; `notice_formats`: as Slack, PagerDuty and Alertmanager want it;
  `webhooks`: sent to addresses and files
"""
