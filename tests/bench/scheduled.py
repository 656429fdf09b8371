"""What scheduling costs: an hourly run with a look-back against one without, one SLI alone against all of a backfill.

Each pair starts from copies of one store and takes turns; what counts is the ratio. Limit: all in one process, so the
start of the command and of a flow are not in it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import config, generated, paired, record

import sli
from sli.config.load import checked

BEFORE, AFTER = "2026-01-21T12:00Z", "2026-01-21T13:00Z"
WHOLE = {"start": "2026-01-01", "end": "2026-01-21", "as_of": BEFORE}


def seconds(call: Callable[[Any], Any], tree: dict[str, Any], published: Path) -> float:
    """Time of a call on a copy of a store."""
    store = Path(tree["store"])
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(published, store)
    chosen = checked(tree)
    began = time.perf_counter()
    call(chosen)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        logs = generated(given.folder or Path(temporary), "--predictions", str(given.predictions))
        published = Path(temporary) / "published"
        sli.run(checked(config(logs, published)), as_of=BEFORE)
        tree = config(logs, Path(temporary) / "store")
        more = {**tree, "slis": [*tree["slis"], "brier"]}
        pairs = {
            "hourly run, look-back of a day / none": (
                (lambda c: sli.run(c, as_of=AFTER, look_back="1d"), tree),
                (lambda c: sli.run(c, as_of=AFTER), tree),
            ),
            "backfill of 20 days, one new SLI alone / all": (
                (lambda c: sli.backfill(c, **WHOLE, sli="brier"), more),
                (lambda c: sli.backfill(c, **WHOLE), more),
            ),
        }
        for name, (one, other) in pairs.items():
            times = [(seconds(*one, published), seconds(*other, published)) for _ in range(given.rounds)]
            found.append(paired(name, times))
    print(record("scheduled", {"predictions": given.predictions, "pairs": found}))


if __name__ == "__main__":
    main()
