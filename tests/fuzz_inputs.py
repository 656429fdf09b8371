"""Bytes that nobody meant, for some time: as footers of files, as configs, as SQL. What `make fuzz` runs.

Atheris changes whole inputs in the direction of code that was not reached before. An input that ends in anything but an
answer or an error of sli's own is kept in `tests/corpus/fuzzed/TARGET/`, where `test_fuzzed_inputs.py` tries it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

LARGEST, SLOWEST, MEMORY = 4096, 20, 2048
"""Bytes, seconds and MiB that an input may have, take and need."""
NAMES = ("footer", "config", "sql")


def fuzz(target: str, seconds: int) -> None:
    """Look for inputs that end otherwise, for some seconds. Ends the process."""
    import atheris

    with atheris.instrument_imports(include=["sli", "yaml"]):
        from corpus.targets import FOUND, answered, seeds
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(target)):
            Path(folder, str(number)).write_bytes(seed)
        limits = [f"-max_len={LARGEST}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}"]
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={found}/", *limits, folder]
        atheris.Setup([target, *options], lambda content: answered(target, content))
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, required=True, help="for how long each target is tried")
    parser.add_argument("--target", choices=NAMES, help="only this one, in this process")
    given = parser.parse_args()
    if given.target:
        fuzz(given.target, given.seconds)
    command = [sys.executable, __file__, "--seconds", str(given.seconds), "--target"]
    codes = [subprocess.run([*command, target]).returncode for target in NAMES]
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
