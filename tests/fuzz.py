"""Fresh random histories for some time, in several processes at once: what `make fuzz` runs.

Every failure is printed with its fewest steps, as calls that a test can take as they are. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import traceback
from functools import partial
from itertools import cycle

from histories import SETTINGS, play
from hypothesis import settings
from servers import two_workers

BATCH = settings(SETTINGS, max_examples=25, database=None, print_blob=True)
STEPS = (5, SETTINGS.stateful_step_count)
"""Short histories find most faults sooner, and shrink in a fraction of the time; long ones reach the rest."""


def play_until(end: float, scheduler: str, _: int) -> tuple[int, int]:
    """Play histories until an instant, in seconds since 1970; how many were played, and how many failures found."""
    played = failed = 0
    steps = cycle(STEPS)
    while time.time() < end:
        try:
            play(settings(BATCH, stateful_step_count=next(steps)), scheduler)
        except Exception:
            failed += 1
            traceback.print_exc()
        played += BATCH.max_examples
    return played, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True, help="for how long new histories begin")
    parser.add_argument("--processes", type=int, required=True)
    given = parser.parse_args()
    pool = multiprocessing.get_context("spawn").Pool(given.processes)
    with two_workers() as scheduler, pool:
        work = partial(play_until, time.time() + given.seconds, scheduler)
        played, failed = map(sum, zip(*pool.map(work, range(given.processes)), strict=True))
    print(f"{played} histories, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
