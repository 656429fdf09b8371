"""PostgreSQL as a sink: what is published of each model, in tables that dashboards query.

The tables keep how far they have come, so a run sends what was published since, by one transaction: a reader sees all
of it or nothing. Limit: they show the newest belief; the history stays in the store.

- `send`: what a model's rows lack, and sending it
- `tables`: the tables, made and brought up to date; `staging`: rows copied, compared and merged
- `rows`: results as rows of these tables; `about`: what else they say of a model
- `connection`: connecting, and errors of the database in words; `rights`: whether the user may write
"""
