"""The whole job: 30 days, 12 binary SLIs of which three are distributions, 56 slices, 6 grains; sli against by hand.

    python tests/bench/whole.py --predictions 200000 1000000 --rounds 3

Every peer is a script of `peers/` in a process of its own with two threads, from the files to a table with a row for
each window, slice and SLI. Their values must be those of sli: to 12 digits, and a distribution's within the error bound
that sli states. `DuckDB, 3 digits` rounds the scores first, as somebody in a hurry would, so its distributions are off.
Limit: no peer computes intervals, keeps states, audits or publishes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import duckdb
from full import ENVIRONMENT, python_of
from measure import Failed, generated, measured, record, spread

HERE = Path(__file__).parent
PEERS: dict[str, tuple[str, list[str]]] = {
    "sli": ("whole_sli", []),
    "DuckDB": ("whole_duckdb", []),
    "DuckDB, 3 digits": ("whole_duckdb", ["3"]),
}
DISTRIBUTIONS = ("roc_auc", "average_precision", "score_p90")
OFF = {"DuckDB, 3 digits": 1e-2}
"""How far the distributions of a peer may be off besides; in hours, of few pairs, by any amount."""


def once(peer: str, logs: Path, table: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One measurement of a peer, which leaves its values in a Parquet file. Raises Failed."""
    script, more = PEERS[peer]
    return measured(
        HERE / "peers" / f"{script}.py",
        str(logs),
        str(table),
        *more,
        python=python_of(peer.partition(",")[0]),
        seconds=given.seconds,
        gigabytes=given.gigabytes,
        env=ENVIRONMENT,
    )


def check_equal(peer: str, table: Path, ours: Path) -> int:
    """Raise where a peer's values are others than those of sli. Returns how many values there are."""
    key = "grain, ends, slice, sli"
    off = f"if(sli IN {DISTRIBUTIONS}, if(grain = 'hour' AND {peer in OFF}, 1, {OFF.get(peer, 0)}), 0)"
    far = f"abs(o.value - p.value) > 1e-12 * abs(o.value) + 1e-12 + o.bound + {off}"
    differ, most = f"(o.value IS NULL) <> (p.value IS NULL) OR {far} OR o.sli IS NULL OR p.sli IS NULL", 5
    rows = duckdb.sql(
        f"SELECT {key}, o.value, p.value, o.bound FROM '{ours}' o FULL JOIN '{table}' p USING ({key}) "
        f"WHERE {differ} LIMIT {most}"
    ).fetchall()
    if rows:
        raise AssertionError(f"{peer} differs from sli: {rows}")
    return int(duckdb.sql(f"SELECT count(*) FROM '{ours}'").fetchall()[0][0])


def compared(logs: Path, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All peers by turns on the same logs."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    values, ours = 0, folder / "sli.parquet"
    for _ in range(given.rounds):
        for peer in given.peers:
            if peer in failed:
                continue
            table = folder / f"{peer}.parquet"
            try:
                figures = once(peer, logs, table, given)
            except Failed as error:
                if peer == "sli":
                    raise
                failed[peer] = error.why
                print(f"{peer}: {error.why}", flush=True)
                continue
            values = check_equal(peer, table, ours)
            rounds.setdefault(peer, []).append(figures)
            shown = f"{figures['seconds']:.2f} s, {figures['cpu']:.1f} s of CPU, {figures['peak_mb']:,.0f} MB"
            print(f"{peer}: {shown}", flush=True)
    names = ("seconds", "cpu", "peak_mb")
    summary = {peer: {name: spread(one[name] for one in own) for name in names} for peer, own in rounds.items()}
    return {"values": values, "peers": summary, "failed": failed}


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
            print(f"{predictions:,} predictions", flush=True)
            print(record(f"whole-{predictions}", compared(logs, Path(temporary), given)))


if __name__ == "__main__":
    main()
