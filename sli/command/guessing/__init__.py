"""What `sli init` makes of two logs: each key of a config, guessed from some rows of their files.

Low to high: a module imports only those above it.

- `fields`: columns, struct fields and fields of JSON texts, each by its dotted name with its values
- `sample`: which rows of a log are looked at
- `choose`: a guess and what to check of it; the best of several fields by their names
- `times`: times, epochs and their unit, text times and their format
- `classes`: spellings of classes, and which label is positive
- `ids`: the id that joins both logs, of one column or two
- `values`: what is the prediction, what the label, and the task that follows
- `scores`: the probability of each class
- `slices`: what may be a slice, a query or a condition
- `tables`: feedback in the rows of the predictions
- `guess`: all of it, for both logs
"""
