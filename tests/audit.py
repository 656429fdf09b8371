"""What `make check` asks of the dependencies: they fit each other and our bounds, and no known weakness is in them.

The list of known weaknesses is asked of OSV, through pip-audit. Limit: where OSV cannot be reached that part is
skipped, and said to be.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
IMAGE = ("postgres", "prefect", "serve")
"""The extras that the image installs, as its Dockerfile says."""
OSV = ("api.osv.dev", 443)
PATIENCE = 3
"""Seconds for OSV to answer."""


def pinned() -> dict[str, Version]:
    """What the image installs, to the version."""
    lines = (ROOT / "configs/constraints.txt").read_text().split()
    return {
        name.lower().replace("_", "-"): Version(version)
        for name, _, version in (line.partition("==") for line in lines)
    }


def out_of_bounds(pins: dict[str, Version]) -> list[str]:
    """Our own requirements that the pins do not meet, or that have no lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = [
        Requirement(text) for text in (*project["dependencies"], *(text for name in IMAGE for text in extras[name]))
    ]
    every = [Requirement(text) for texts in extras.values() for text in texts]
    wrong = [f"{each}: no lower bound" for each in (*ours, *every) if not each.extras and not each.specifier]
    for each in ours:
        version = pins.get(each.name.lower())
        if version is None or version not in each.specifier:
            wrong.append(f"{each}: configs/constraints.txt has {version}")
    return sorted(set(wrong))


def reachable() -> bool:
    """Whether OSV can be asked."""
    try:
        socket.create_connection(OSV, PATIENCE).close()
    except OSError:
        return False
    return True


def main() -> int:
    failed = subprocess.run([sys.executable, "-m", "pip", "check"]).returncode
    for line in out_of_bounds(pinned()):
        print(line)
        failed = 1
    if not reachable():
        print(f"skipped: known weaknesses of the dependencies, since {OSV[0]} cannot be reached from here")
        return failed
    asked = ["--vulnerability-service", "osv", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    audit = [sys.executable, "-m", "pip_audit", *asked, "--requirement", str(ROOT / "configs/constraints.txt")]
    return failed or subprocess.run(audit).returncode


if __name__ == "__main__":
    raise SystemExit(main())
