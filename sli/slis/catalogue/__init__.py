"""The built-in SLIs by family; each module registers its entries when it is imported.

It imports `maths`, `formula`, `states` and lower wings, never a config. What the modules are for:

- `parameters`, `columns`, `confusion`, `comparison`: what several families share: checks of parameters, one column, the
  confusion matrix, a window and its reference
- `scores`, `calibration`, `binary`, `operating_points`: binary tasks: scores, calibration, decisions, best thresholds
- `class_scores`, `multiclass`, `one_vs_rest`: multiclass tasks: scores, decisions, each class against all others
- `regression`, `ranking`: these tasks
- `values`, `operation`, `drift`, `drift_of_shares`: every task: one column, the logs, a reference
"""
