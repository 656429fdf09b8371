"""Windows from tiles: states are merged, then each SLI takes its value from the merged states.

Imports `tiles` and the wings below it. Reads no log, except for a custom function that must see the pairs of a window.
"""
