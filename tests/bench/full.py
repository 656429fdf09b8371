"""Full recomputation: sli against what one would write by hand with other tools, on the same files.

    python tests/bench/full.py --predictions 1000000 10000000 --scenario plain settled --rounds 3

`plain`: logs without duplicates and corrections, accuracy, precision and recall per hour, per day and since deployment.
`settled`: the same overall and for five regions, on logs where 0.5 % of the predictions come twice and 1 % of the
labels are corrected, each settled by hand. Every peer is a script of `peers/` in a process of its own with two
threads; they take turns, and their numbers must be those of sli. Limit: a peer that needs more than `--seconds` or
`--gigabytes` is stopped, and not tried again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Failed, generated, measured, record, spread

HERE, REPOSITORY = Path(__file__).parent, Path(__file__).parents[2]
PEERS = {
    "sli": "by_sli",
    "DuckDB": "by_duckdb",
    "Polars": "by_polars",
    "pandas": "by_pandas",
    "Dask": "by_dask",
    "PySpark": "by_spark",
    "PostgreSQL": "by_postgres",
    "NannyML": "by_nannyml",
    "Evidently": "by_evidently",
}
SMALL = {"NannyML": 1_000_000, "Evidently": 1_000_000}
"""Those of one window after another, and up to how many predictions they are tried."""
TIMED = ("seconds", "cpu", "whole", "peak_mb", "load", "fit")
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(REPOSITORY)]),
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
}
LOGS = {"plain": [], "settled": ["--duplicates", "0.005", "--corrections", "0.01"]}


def python_of(peer: str) -> str:
    """The environment a peer lives in, made by `make bench`."""
    if peer == "sli":
        return sys.executable
    name = peer.lower() if peer in SMALL else "peers"
    return str(REPOSITORY / f".venv-{name}" / "bin" / "python")


def once(peer: str, logs: Path, scenario: str, given: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """One measurement of a peer and the windows it found. Raises Failed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as windows:
        figures = measured(
            HERE / "peers" / f"{PEERS[peer]}.py",
            str(logs),
            scenario,
            windows.name,
            *([str(given.hours)] if peer == "Evidently" else []),
            python=python_of(peer),
            seconds=given.seconds,
            gigabytes=given.gigabytes,
            env=ENVIRONMENT,
        )
        return figures, json.loads(Path(windows.name).read_text())


def check_equal(peer: str, found: Any, expected: Any) -> None:
    """Raise where a peer's windows are others than those of sli; a peer may lack grains, hours and counts."""
    for grain, windows in found.items():
        if peer not in SMALL and windows.keys() != expected[grain].keys():
            raise AssertionError(f"{peer}, {grain}: {len(windows)} windows, sli has {len(expected[grain])}")
        for key, figures in windows.items():
            for name, one, other in zip(
                ("predictions", "labelled", "accuracy", "precision", "recall"),
                figures,
                expected[grain][key],
                strict=True,
            ):
                left_out = one is None and peer in SMALL
                if not (left_out or one == other or math.isclose(one, other, rel_tol=1e-12)):
                    raise AssertionError(f"{peer}, {grain} {key}: {name} is {one}, by sli {other}")


def by_turns(given: argparse.Namespace, one: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `one` measures of each peer, in rounds. A peer that failed is not tried again; raises Failed if sli does."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for _ in range(given.rounds):
        for peer in given.peers:
            if peer in failed:
                continue
            try:
                figures = one(peer)
            except Failed as error:
                failed[peer] = error.why
                print(f"{peer}: {error.why}", flush=True)
                if peer == "sli":
                    raise
                continue
            rounds.setdefault(peer, []).append(figures)
            shown = f"{figures['seconds']:.2f} s, {figures['cpu']:.1f} s of CPU, {figures['peak_mb']:,.0f} MB"
            print(f"{peer}: {shown}", flush=True)
    return {"peers": {peer: _summary(own, rounds["sli"]) for peer, own in rounds.items()}, "failed": failed}


def _summary(found: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    ratios = [theirs["seconds"] / sli["seconds"] for theirs, sli in zip(found, ours, strict=False)]
    timed = {name: spread(each[name] for each in found) for name in TIMED if name in found[0]}
    kept = {name: found[-1][name] for name in ("version", "hours", "of", "phases") if name in found[0]}
    return {**timed, "times_sli": statistics.median(ratios), **kept}


def compared(logs: Path, scenario: str, given: argparse.Namespace, predictions: int) -> dict[str, Any]:
    """All peers on the same logs."""
    expected: dict[str, Any] = {}

    def one(peer: str) -> dict[str, Any]:
        if predictions > SMALL.get(peer, predictions):
            raise Failed(f"not tried beyond {SMALL[peer]:,}")
        figures, found = once(peer, logs, scenario, given)
        expected.update({} if expected else found)
        check_equal(peer, found, expected)
        return figures

    print(f"{predictions:,} {scenario}", flush=True)
    figures = by_turns(given, one)
    windows = {grain: len(found) for grain, found in expected.items()}
    return {"predictions": predictions, "scenario": scenario, **figures, "windows": windows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--scenario", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="sli is always among them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=int, default=72, help="of Evidently, scaled to all")
    parser.add_argument("--seconds", type=float, default=600, help="a peer may take")
    parser.add_argument("--gigabytes", type=float, default=20, help="a peer may hold")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    given.peers = list(dict.fromkeys(["sli", *given.peers]))
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for predictions in given.predictions:
            for scenario in given.scenario:
                logs = generated(given.folder or Path(temporary), "--predictions", str(predictions), *LOGS[scenario])
                print(record(f"full-{predictions}-{scenario}", compared(logs, scenario, given, predictions)))


if __name__ == "__main__":
    main()
