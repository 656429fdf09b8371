"""The built-in SLIs by family; each module registers its entries when it is imported.

It imports `maths`, `formula`, `states` and lower wings, never a config. What the modules are for:

- `parameters`, `columns`, `confusion`: what several families share: checks of parameters, one column, the confusion
  matrix
- `scores`, `calibration`, `binary`: binary tasks: scores over all thresholds, calibration, decisions at a threshold
- `class_scores`, `multiclass`, `one_vs_rest`: multiclass tasks: scores, decisions, each class against all others
- `regression`, `ranking`: these tasks
- `values`, `operation`, `drift`: every task: one column, the logs, a reference
"""
