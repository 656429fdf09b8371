"""The job itself: discover, plan, match, tile, roll up, publish; and backfills, which do it part by part.

Imports `publishing` and the wings below it. Knows nothing of `reading` and of `command`.
"""
