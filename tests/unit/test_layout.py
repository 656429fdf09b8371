"""Imports run one way, low to high, so that somebody new can read the modules in this order."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import Scenario, at, config_of

import sli

SLI = Path(__file__).parents[2] / "sli"
WINGS = [
    "calendar",
    "engine",
    "slis",
    "config",
    "logs",
    "planning",
    "matching",
    "tiles",
    "rollup",
    "publishing",
    "maintenance",
    "runs",
    "reading",
    "judging",
    "report",
    "export",
    "serve",
    "doctor",
    "command",
]
RANK = {wing: rank for rank, wing in enumerate(WINGS, 1)}
ROOT = {"errors", "masking", "meanings", "schemas", "slices"}
"""Below every wing."""
FACES = {"__init__", "mergeable"}
"""What users import: above the wings they pass on."""
ROOMS = {
    "dask": {"matching.cluster", "matching.execute", "tiles.shuffle"},
    "distributed": {"matching.cluster", "matching.execute", "tiles.shuffle"},
    "deltalake": {"publishing.delta_tables", "logs.tables"},
    "pyiceberg": {"logs.iceberg"},
    "rich": {"command"},
    "matplotlib": {"report.figure", "report.lines"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "psycopg": {"export"},
    "prefect": set[str](),
    "flows": set[str](),
}
UNKNOWN = "?"
BY_NAME = {"__init__", "matching.cluster", "slis.custom.imports"}
"""Import what a public function or the config names."""
FILES = sorted(SLI.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SLI).with_suffix("").parts)


def rank_of(module: str) -> int:
    """Where a module stands; a name at the root that is not a wing is below all."""
    return RANK.get(module.split(".")[0], 0)


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """The full names of all that a module imports."""
    return frozenset(imports(path.read_text(), ".".join(("sli", *path.relative_to(SLI).parent.parts))))


def imports(source: str, package: str) -> Iterator[str]:
    """The full names of what a module of a package imports: at its top or in a function, for types only, by a call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # Of `from sli import runs` and `from . import runs` the names are the modules.
            modules = (base.count(".") == 0 and base == "sli") or node.module is None
            yield from (f"{base}.{alias.name}" for alias in node.names) if modules else [base]
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
            yield written(node.args[0])


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def written(name: ast.expr) -> str:
    """A module's name in a call, or its start where the rest is computed; UNKNOWN where all is."""
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else UNKNOWN


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import sli.runs.recompute", "sli.runs.recompute"),
        ("import os, sli.runs as r", "sli.runs"),
        ("from sli.runs.recompute import run", "sli.runs.recompute"),
        ("from sli import runs", "sli.runs"),
        ("import sli", "sli"),
        ("from . import pairs", "sli.matching.pairs"),
        ("from .pairs import usable", "sli.matching.pairs"),
        ("from .. import runs", "sli.runs"),
        ("from ..runs import recompute", "sli.runs"),
        ("if TYPE_CHECKING:\n    from sli.runs.recompute import Outcome", "sli.runs.recompute"),
        ("def join():\n    import sli.runs", "sli.runs"),
        ("importlib.import_module('sli.runs')", "sli.runs"),
        ("import_module(f'sli.runs.{name}')", "sli.runs."),
        ("__import__('dask')", "dask"),
        ("import_module(name)", "?"),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, module: str) -> None:
    assert module in set(imports(source, "sli.matching"))


def test_every_package_is_a_wing_and_says_what_it_is_for() -> None:
    assert {path.parent.name for path in SLI.glob("*/__init__.py")} == set(WINGS)
    assert {path.stem for path in SLI.glob("*.py")} == ROOT | FACES
    for path in SLI.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_wing_imports_only_lower_ones(path: Path) -> None:
    own = module_of(path)
    if own in FACES:
        return
    for name in imported(path):
        assert name != "sli", f"{own} imports the face of the package, which leads to every wing"
        if name.startswith("sli."):
            other = name.removeprefix("sli.")
            assert other.split(".")[0] in RANK.keys() | ROOT, f"{own} imports {other}"
            assert rank_of(other) <= rank_of(own), f"{own} imports {other}"
            beside = own.split(".")[0] in ("reading", "judging") and other.split(".")[0] == "runs"
            assert not beside, f"{own} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_dask_deltalake_rich_and_prefect_keep_to_their_rooms(path: Path) -> None:
    own = module_of(path)
    for name in imported(path):
        assert name != UNKNOWN or own in BY_NAME, f"{own} imports what its source does not name"
        rooms = ROOMS.get(name.split(".")[0])
        if rooms is not None:
            assert own in rooms or own.split(".")[0] in rooms, f"{own} imports {name}"


def test_no_module_has_the_name_of_a_public_function() -> None:
    assert not {path.stem for path in SLI.iterdir()} & set(sli.__all__)


HEAVY = (
    "pandas",
    "pyarrow",
    "duckdb",
    "dask",
    "distributed",
    "deltalake",
    "prefect",
    "pydantic",
    "numpy",
    "scipy",
    "fsspec",
    "psycopg",
)


def loaded(code: str) -> set[str]:
    """Those of the heavy packages that a new process has after some code."""
    told = f"{code}\nimport sys; print('has', *(n for n in {HEAVY} if n in sys.modules))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines()[-1].split()[1:])


def test_importing_sli_loads_nothing_heavy() -> None:
    assert loaded("import sli") == set()
    assert "scipy" not in loaded("import sli.slis, sli.rollup.results"), "only an interval or a p-value needs it"


def test_a_query_loads_nothing_that_judges_or_runs() -> None:
    code = "import sys, sli.command.asked, sli.command.tables, sli.reading.query\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in found if name.startswith(("sli.judging", "sli.report", "sli.runs"))] == []


def test_a_run_loads_only_what_it_needs(tmp_path: Path) -> None:
    day = at("2024-01-15T00:00")
    world = small_world(since=day, grains=("day",), slis=("accuracy", "roc_auc"))
    scenario = Scenario(tmp_path, world)
    scenario.log_predictions("a.parquet", [Prediction("a", day, 0.5, {})])
    scenario.log_feedback("a.parquet", [Feedback("a", day, 1.0)])
    (tmp_path / "sli.yaml").write_text(yaml.safe_dump(config_of(world, tmp_path)))
    config = str(tmp_path / "sli.yaml")
    run = f"from sli.command.cli import main; assert main(['run', {config!r}]) == 0"
    first, nothing_to_do = loaded(run), loaded(run)
    assert "pandas" in first
    assert not first & {"dask", "distributed", "prefect", "scipy", "psycopg"}
    assert nothing_to_do == set(), "it is told without a plan"
    planned = loaded(f"from sli.command.cli import main; assert main(['run', {config!r}, '--json']) == 0")
    assert not planned & {"pandas", "dask", "distributed", "prefect", "scipy", "fsspec", "duckdb"}
    for reading in (["show", config, "--sli", "accuracy"], ["query", config, "accuracy"]):
        read = loaded(f"from sli.command.cli import main; assert main({reading!r}) == 0")
        assert not read & {"dask", "distributed", "prefect", "scipy", "fsspec"}
    assert loaded("from sli.command.cli import main; main(['query'])") == set()
