"""The whole job: 30 days, 12 binary SLIs of which three are distributions, 56 slices, 6 grains; sli against by hand.

    python tests/bench/whole.py --predictions 1000000 10000000 --rounds 3

Every peer is a script of `peers/` in a process of its own with two threads, from the files to a table with a row for
each window, slice and SLI, as one person would write it in half a day: scores are exact, and sorted or ranked once.
Their values must be those of sli: to 12 digits, and a distribution's within the error bound that sli states. Limit: no
peer computes intervals, keeps states, audits or publishes; one that needs more than `--seconds` or `--gigabytes` is
stopped, and not tried again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import duckdb
from full import ENVIRONMENT, by_turns, python_of
from measure import generated, measured, record

HERE = Path(__file__).parent
PEERS = {"sli": "whole_sli", "DuckDB": "whole_duckdb", "Polars": "whole_polars", "pandas": "whole_pandas"}


def once(peer: str, logs: Path, table: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One measurement of a peer, which leaves its values in a Parquet file. Raises Failed."""
    return measured(
        HERE / "peers" / f"{PEERS[peer]}.py",
        str(logs),
        str(table),
        python=python_of(peer),
        seconds=given.seconds,
        gigabytes=given.gigabytes,
        env=ENVIRONMENT,
    )


def check_equal(peer: str, table: Path, ours: Path) -> int:
    """Raise where a peer's values are others than those of sli. Returns how many values there are."""
    key = "grain, ends, slice, sli"
    far = "abs(o.value - p.value) > 1e-12 * abs(o.value) + 1e-12 + o.bound"
    differ, most = f"(o.value IS NULL) <> (p.value IS NULL) OR {far} OR o.sli IS NULL OR p.sli IS NULL", 5
    rows = duckdb.sql(
        f"SELECT {key}, o.value, p.value, o.bound FROM '{ours}' o FULL JOIN '{table}' p USING ({key}) "
        f"WHERE {differ} LIMIT {most}"
    ).fetchall()
    if rows:
        raise AssertionError(f"{peer} differs from sli: {rows}")
    return int(duckdb.sql(f"SELECT count(*) FROM '{ours}'").fetchall()[0][0])


def compared(logs: Path, folder: Path, given: argparse.Namespace, predictions: int) -> dict[str, Any]:
    """All peers on the same logs."""
    values = 0

    def one(peer: str) -> dict[str, Any]:
        nonlocal values
        table = folder / f"{peer}.parquet"
        figures = once(peer, logs, table, given)
        values = check_equal(peer, table, folder / "sli.parquet")
        return figures

    print(f"{predictions:,} predictions", flush=True)
    figures = by_turns(given, one)
    return {"predictions": predictions, "values": values, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="sli is always among them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600, help="a peer may take")
    parser.add_argument("--gigabytes", type=float, default=20, help="a peer may hold")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    given.peers = list(dict.fromkeys(["sli", *given.peers]))
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for predictions in given.predictions:
            logs = generated(given.folder or Path(temporary), "--predictions", str(predictions))
            print(record(f"whole-{predictions}", compared(logs, Path(temporary), given, predictions)))


if __name__ == "__main__":
    main()
