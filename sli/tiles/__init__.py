"""The states of one hour and slice: made from all pairs, or changed by the pairs that are new.

Imports `matching` and the wings below it. Knows nothing of windows longer than an hour, or of the results tables.
"""
