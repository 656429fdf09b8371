"""The page of what can be relied on names tests that exist, and says of each whether `make test` runs it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()


def all_tests() -> dict[str, bool]:
    """Every test by name, and whether it is one of `make soak`."""
    found: dict[str, bool] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        marked = any(ast.unparse(each) == "pytestmark = pytest.mark.soak" for each in tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = marked or "pytest.mark.soak" in map(ast.unparse, node.decorator_list)
    return found


def test_every_test_on_the_page_exists_and_those_of_soak_are_called_so() -> None:
    tests, named = all_tests(), re.findall(r"(soak: )?`(test_\w+)`", PAGE)
    assert len(named) > 40
    assert [name for _, name in named if name not in tests] == []
    assert [name for soak, name in named if tests[name] != bool(soak)] == []


def test_every_promise_is_on_the_page() -> None:
    semantics = (ROOT / "docs/semantics.md").read_text()
    promised = {int(number) for number in re.findall(r"^## (\d+)\. ", semantics, flags=re.MULTILINE)}
    assert promised <= {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}


def literal(path: str, name: str) -> int:
    """How many entries the dict or list has that a module calls so, with what is added to it."""
    tree = ast.parse((ROOT / path).read_text())
    found = 0
    for node in tree.body:
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", ())), None)
        if (
            isinstance(target, ast.Name)
            and target.id == name
            and isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        ):
            value = node.value.generators[0].iter if isinstance(node.value, ast.ListComp) else node.value
            value = value.args[0] if isinstance(value, ast.Call) else value
            found += len(value.keys if isinstance(value, ast.Dict) else value.elts)
    return found


def test_as_much_is_tried_as_the_page_says() -> None:
    from corpus import contents, damage, kinds, names
    from corpus.attacks import ATTACKS
    from corpus.cases import CASES

    assert all((contents, damage, kinds, names))  # they add the cases
    told = [int(count) for count in re.findall(r"^\| [^|]+ \| (\d+)[^|]*\| `tests/", PAGE, flags=re.MULTILINE)]
    doctor = "tests/e2e/test_doctor.py"
    counted = [len(CASES), len(ATTACKS), literal(doctor, "BROKEN"), literal(doctor, "DAMAGES")]
    assert len(told) == len(counted) + 1
    assert [least <= count for least, count in zip(told, counted, strict=False)] == [True] * len(counted), counted
