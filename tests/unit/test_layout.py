"""Imports run one way, low to high, so that somebody new can read the modules in this order."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from oracle import Feedback, Prediction, World
from scenario import DAY, Scenario, at, config_of

SLI = Path(__file__).parents[2] / "sli"
ORDER = [
    ["masking", "panics", "signals", "spill", "grid"],
    ["errors", "bars"],
    ["formats", "intervals", "slices", "functions", "document", "trust"],
    ["expression"],
    ["windows", "schemas", "request"],
    ["columns"],
    ["inputs"],
    ["storage", "parts", "pages"],
    ["slis", "turns", "published"],
    ["declaration", "mergeable"],
    ["config"],
    ["loading", "listing", "agreement"],
    ["logs"],
    ["tables", "fetch", "cluster", "chunks"],
    ["ahead"],
    ["scan", "engine"],
    ["stale", "keys"],
    ["plan"],
    ["match"],
    ["lists"],
    ["aggregation", "blocks", "exchange", "expected"],
    ["checks", "reference", "tile", "evaluation", "daily"],
    ["rollup"],
    ["census", "shuffle"],
    ["amend"],
    ["publish", "conflicts"],
    ["history", "hours"],
    ["staging"],
    ["recompute"],
    ["guess"],
    ["read", "plot", "figures", "init", "backfill"],
    ["query"],
    ["comparison"],
    ["report", "shown", "verify"],
    ["digest"],
    ["demo"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = sorted(path for path in SLI.rglob("*.py") if path != SLI / "__init__.py")


def module_of(path: Path) -> str:
    return path.relative_to(SLI).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"sli.{alias.name}" for alias in node.names] if node.module == "sli" else [node.module]
        found |= set(names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SLI)))
def test_a_module_imports_only_lower_ones(path: Path) -> None:
    own = module_of(path)
    for name in imported(path):
        if name.startswith("sli."):
            other = name.split(".")[1]
            assert other == own or RANK[other] < RANK[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SLI)))
def test_the_library_knows_nothing_of_prefect(path: Path) -> None:
    assert not any(name.split(".")[0] in ("prefect", "flows") for name in imported(path))


HEAVY = ("pandas", "pyarrow", "duckdb", "dask", "distributed", "deltalake", "prefect", "pydantic", "numpy", "scipy")


def loaded(code: str) -> set[str]:
    """Those of the heavy packages that a new process has after some code."""
    told = f"{code}\nimport sys; print('has', *(n for n in {HEAVY} if n in sys.modules))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines()[-1].split()[1:])


def test_importing_sli_loads_nothing_heavy() -> None:
    assert loaded("import sli") == set()
    assert "scipy" not in loaded("import sli.slis, sli.rollup"), "only an interval or a p-value needs it"


def test_a_run_loads_only_what_it_needs(tmp_path: Path) -> None:
    day = at("2024-01-15T00:00")
    world = World(
        task="binary", horizon=DAY, since=day, zone="UTC", slice_by=((),), grains=("day",), slis=("accuracy", "roc_auc")
    )
    scenario = Scenario(tmp_path, world)
    scenario.log_predictions("a.parquet", [Prediction("a", day, 0.5, {})])
    scenario.log_feedback("a.parquet", [Feedback("a", day, 1.0)])
    (tmp_path / "sli.yaml").write_text(yaml.safe_dump(config_of(world, tmp_path)))
    run = f"from sli.cli import main; assert main(['run', {str(tmp_path / 'sli.yaml')!r}]) == 0"
    first, nothing_to_do = loaded(run), loaded(run)
    assert "pandas" in first
    assert not first & {"dask", "distributed", "prefect"}
    assert not nothing_to_do & {"pandas", "dask", "distributed", "prefect", "scipy"}
