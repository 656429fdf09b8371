"""Thin Prefect flows over `sli`: when it runs, what is tried again, and what a person sees. No arithmetic.

Limit: nothing here is needed to run the job; `sli run` and `sli backfill` do the same without Prefect.
"""
