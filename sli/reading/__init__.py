"""Answers from the store. Reads what is published; writes nothing.

May import `publishing` and the wings below it; not `runs`, and not `command`.

- `read`: published rows, as they are or as they were known at an earlier instant
- `publication`: one publication of the store, the newest or one believed earlier
- `question`: what is asked of the tiles, which windows of which slices, and the tiles that these need
- `query`: values over any windows and slices, merged from stored tiles
- `outcomes`: when labels arrive, how predictions are distributed and calibrated
- `difference`: two slices compared; `requests`: the requests that both scored, read again from the logs
- `slice_values`: whether a slice exists, and which values its columns have
- `sql`: SQL over what is published; `rows`: rows that are written in batches, with the types of the tables
- `figures`: numbers, durations, times and changes as people read them
- `raw_rows`, `raw_pairs`: rows of the raw logs, and pairs made from them, by plain pandas
- `brute_force`: values of SLIs from these pairs, without tiles
- `verify`: recomputes published values from these pairs and compares
"""
