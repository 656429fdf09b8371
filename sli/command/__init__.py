"""The `sli` command: what people type and what it prints.

May import every other wing; only `flows` imports this one. The only wing that imports `rich`.

- `cli`: runs a subcommand and returns its exit code; `arguments`: the options and their help
- `parsing`: its errors, told like all others
- `idle`: whether a run has nothing to do, told at once
- `answers`: what a run, a plan, a backfill and a verification say of one config; `shown`: what `show` says; `asked`:
  what `query`, `slices`, `compare` and `explain` say; `models`: of one or several, printed
- `overview`: `show CONFIG` alone; `results`: chosen results, by `trends` (a line a slice), `chart` and its `axes`
- `standing`: how good a model is now, as short texts; `output`: lines, JSON and warnings without secrets
- `text`: plans and outcomes as text; `plain`: the same as plain values for `--json`
- `tables`: what `show --table`, `query` and `slices` print; `compared`: what `compare` prints
- `grid`: columns that fit a terminal; `bars`: progress bars
- `init`: writes a config, whose text is in `config_text`, from what `guessing` makes of the logs
- `demo`: the two example data sets and the session that `sli demo` prints
"""
