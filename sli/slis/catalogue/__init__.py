"""The SLIs that come with the package, a family a module: each entry names its states, its value and its interval.

Imports `slis.maths`, `slis.formula` and `slis.states`. A module registers its entries when it is imported.
"""
