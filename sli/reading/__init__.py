"""Answers from the store: published values, windows asked for now, slices compared, and the proof that all is right.

Imports `publishing` and the wings below it. Knows nothing of `runs` and of `command`; writes nothing.
"""
