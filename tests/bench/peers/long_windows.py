"""The windows of the whole job that are longer than an hour: grain, first hour and the hour after the last.

Hours are counted from the first one, START counts them since 1970. The first and last week and the month reach beyond
the logs.
"""

START = 490_896  # 2026-01-01
DAYS = range(30)
LONG = [
    *(("day", 24 * day, 24 * day + 24) for day in DAYS),
    *(("week", 168 * week - 72, 168 * week + 96) for week in range(5)),
    ("month", 0, 744),
    *(("cumulative", 0, 24 * day + 24) for day in DAYS),
    *(("7d/1d", 24 * day - 144, 24 * day + 24) for day in DAYS),
]
