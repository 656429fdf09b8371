"""What the user asks: the YAML file, read, checked and turned into one closed, typed value.

Imports `slis` and the wings below it. Never reads a log or a store.
"""
