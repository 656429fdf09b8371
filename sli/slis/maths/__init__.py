"""The formulas that SLIs share: curves of scores, distances of distributions, confidence intervals.

Imports `slis.formula` and `slis.states`. Takes and returns NumPy arrays; never sees a config or a file.
"""
