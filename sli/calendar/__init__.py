"""Time: half-open UTC intervals, durations, time zones, and the windows that grains cut time into.

Imports the root modules only. Knows nothing of logs, SLIs or stores.

`duration`: units of time and durations as text.
`interval`: instants, intervals and sets of them.
`zone`: days, hours and local times of a time zone.
`grain`: the windows of `hour`, `day`, `cumulative` and the like.
"""
