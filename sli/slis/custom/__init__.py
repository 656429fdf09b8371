"""SLIs that a config declares itself: in SQL, as mergeable Python functions, or as any Python function.

Imports the rest of `slis`. Only these modules may import a user's code, and only if `trust` allows it.
"""
