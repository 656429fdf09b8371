"""Roll-up: the values of SLIs over windows, from merged tiles.

Imports `tiles` and the wings below it. Must not read a log, except for reference tables, or a published table.

In the order of the data: `days` merges the tiles of each local day; `cover` chooses the few nodes that make up a
window; `merge` builds these nodes and merges them, `lists` what of their states are lists; `reference` reads the tables
that windows are compared with; `evaluate` computes values in batches, but for those that are `kept`; `results` turns
them into rows.
"""
