"""Time: half-open UTC intervals, durations, time zones, and the windows that grains cut time into.

Imports the root modules only. Knows nothing of logs, SLIs or stores.
"""
