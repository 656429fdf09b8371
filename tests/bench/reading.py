"""Reading the accuracy since deployment, of more and more predictions: sli, PromQL on Prometheus, PostgreSQL.

    python tests/bench/reading.py --predictions 8664 83439 161014 238974 359052 1000000 10000000

The sizes of Figure 3 of "Failure Modes in Extending Prometheus", and beyond. Each reader is a process of its own with
its own server; each is loaded first, which is timed apart, then asked `--rounds` times. Their answers must be equal.
Limit: one number of one SLI; the server's answers are warm.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from full import ENVIRONMENT, HERE, python_of
from measure import Failed, generated, measured, record, spread

READERS = {"sli": "read_sli", "PostgreSQL": "read_postgres", "Prometheus": "read_prometheus"}
FIGURE_3 = [8_664, 83_439, 161_014, 238_974, 359_052]


def asked(reader: str, logs: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What a reader answers, and how long it takes. Raises Failed."""
    found = measured(
        HERE / "peers" / f"{READERS[reader]}.py",
        str(logs),
        str(given.rounds),
        python=sys.executable if reader == "sli" else python_of(reader),
        seconds=given.seconds,
        gigabytes=given.gigabytes,
        env=ENVIRONMENT,
    )
    times = {name: spread(found.pop(name)) for name in ("seconds", "direct") if name in found}
    return {**found, **times}


def at_size(logs: Path, given: argparse.Namespace, beaten: dict[str, str]) -> dict[str, Any]:
    """Every reader that is not beaten yet; those that are say why."""
    readers: dict[str, dict[str, Any]] = {}
    for reader in READERS:
        if reader in beaten:
            continue
        try:
            readers[reader] = found = asked(reader, logs, given)
        except Failed as error:
            if reader == "sli":
                raise
            beaten[reader] = error.why
            print(f"{reader}: {error.why}", flush=True)
            continue
        expected = readers["sli"]
        if found["labelled"] != expected["labelled"] or not math.isclose(
            found["accuracy"], expected["accuracy"], rel_tol=1e-12
        ):
            raise AssertionError(f"{reader} says {found}, sli {expected}")
        print(f"{reader}: {found['seconds']['median'] * 1000:,.1f} ms, loaded in {found['load']:.1f} s", flush=True)
    return readers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, nargs="+", default=[*FIGURE_3, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1200, help="a reader may take, loading included")
    parser.add_argument("--gigabytes", type=float, default=20, help="a reader and its server may hold")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    sizes, beaten = [], dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for predictions in sorted(given.predictions):
            print(f"{predictions:,} predictions", flush=True)
            logs = generated(given.folder or Path(temporary), "--predictions", str(predictions))
            readers = at_size(logs, given, beaten)
            sizes.append({"predictions": predictions, "readers": readers, "failed": dict(beaten)})
            path = record("reading", {"sizes": sizes})
    print(path)


if __name__ == "__main__":
    main()
