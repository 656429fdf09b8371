"""A store that nobody watches stays small, its runs stay fast, and what was known at any time stays readable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from unattended import Unattended

from sli.maintenance.sizes import table_sizes
from sli.publishing.store import Store
from sli.reading.verify import verify

HOURLY = [1]
DAILY = [24]
YEAR = 365 * 24 * HOURLY
MOSTLY_DAILY = 60 * HOURLY + 300 * DAILY + 40 * HOURLY


@pytest.mark.parametrize(
    "runs", [MOSTLY_DAILY, pytest.param(YEAR, marks=pytest.mark.soak)], ids=["400-runs", "a-year-of-hourly-runs"]
)
def test_a_store_that_nobody_watches_stays_small_and_remembers_what_was_known(tmp_path: Path, runs: list[int]) -> None:
    job = Unattended(tmp_path)
    read_then: dict[pd.Timestamp, pd.DataFrame] = {}
    for number, hours in enumerate(runs, 1):
        outcome = job.pass_hours(hours)
        assert outcome.published
        assert outcome.warnings == ()
        if number % (len(runs) // 12) == 0:
            read_then[job.now] = job.results()
    sizes, files = table_sizes(Store(job.config.store)), list(job.files())
    live = sum(size.live_files for size in sizes)
    # Each run replaces about fifteen files and adds seven commits; those of thirty to forty runs are still needed.
    assert len(files) < min(2_000, live + 800)
    assert sum(path.stat().st_size for path in files) < 3 * sum(size.live_bytes for size in sizes)
    for size in sizes:
        assert size.name not in ("revisions", "runs", "audit") or size.live_files < 32
    for as_of, rows in read_then.items():
        pd.testing.assert_frame_equal(job.results(as_of), rows)
    assert verify(job.config, windows=20).equal
