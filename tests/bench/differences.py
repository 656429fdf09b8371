"""Does the interval of a difference of two values that share pairs hold the true difference? Simulated.

    python tests/bench/differences.py --draws 2000

Pairs are drawn from a population whose values are known. Limit: independent pairs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measure import record

sys.path.insert(0, str(Path(__file__).parents[1]))
from overlaps import SLIS, Population, coverage

CASES = ("disjoint", "half", "nested", "nested, unlike")
SIZES = (30, 300, 3000)


def without_nan(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if value != value else value for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    rows = [
        {"sli": name, "case": case, "n": n, **without_nan(coverage(population, case, n, draws))}
        for name in SLIS
        for population in [Population.of(name)]
        for case in CASES
        for n in SIZES
    ]
    print(record("differences", {"draws": draws, "rows": rows}, ("numpy", "scipy", "duckdb")))


if __name__ == "__main__":
    main()
