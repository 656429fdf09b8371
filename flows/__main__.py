"""`python -m flows CONFIG` runs the two schedules and the backfills of a config from this one process."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Dask workers that are spawned import this module again, so it imports nothing before it is needed.
    from flows.serving import main

    sys.exit(main(sys.argv[1:]))
