"""SLIs that a config declares itself: in SQL, as mergeable Python functions, or as any Python function.

Imports the rest of `slis` and the wings below it. Only these modules import a user's code, and only if `engine.trust`
allows.

- `imports`: import of a user's function, its source, its bytes for workers
- `source_file`: a function's signature read from its file, without an import
- `sql`: SLIs in SQL
- `mergeable`: SLIs that are a Python function of merged states
- `signature`: what is known of a function, and whether it fits its entry
- `function`: a user's function with its arguments, and its call
- `sampled`: its value and interval from all pairs or a sample
- `python`: config entries with `python` to formulas
"""
