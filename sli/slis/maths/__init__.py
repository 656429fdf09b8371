"""The mathematics that several SLIs share: intervals, curves over thresholds, distances, quantiles and moments.

It imports only `formula`, `states` and lower wings; it knows no task and no SLI of the catalogue.

- `confidence`: confidence intervals of shares, means and functions of counts; `differences`: of two values
- `worsening`: from which day on a value is worse than before
- `moments`: standard deviations and standard errors from sums of powers
- `quantiles`: quantiles of histograms, and their intervals
- `curves`: areas and thresholds from one histogram of scores
- `distances`: distances between the values of a window and of its reference
"""
