"""`python -m flows CONFIG`: both schedules and the backfill of a config, served from this one process."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Spawned Dask workers import this module again: nothing is loaded before it is needed.
    from flows.serving import main

    sys.exit(main(sys.argv[1:]))
