"""The join: each prediction with the feedback that counts for it, and the Dask cluster that the tasks run on.

Imports `planning` and the wings below it. With `tiles.shuffle` this is the only place that imports Dask.
"""
