"""Every example in a docstring of the package runs, and every public function has one."""

import doctest
import importlib
import pkgutil

import pytest

import sli
import sli.mergeable

MODULES = [name for _, name, _ in pkgutil.walk_packages(sli.__path__, "sli.") if not name.endswith("__main__")]
EXAMPLES = {
    test.name: test
    for name in MODULES
    for test in doctest.DocTestFinder().find(importlib.import_module(name))
    if test.examples
}
WITHOUT = {"backfill", "compare_slices", "distribution", "plan", "plan_backfill", "query", "read", "run", "verify"}
"""Functions of `sli` that still lack an example; none may be added."""
PUBLIC = [(sli, name) for name in sli.__all__ if name not in WITHOUT]
PUBLIC += [(sli.mergeable, name) for name in sli.mergeable.__all__]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(EXAMPLES[name], out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda part: getattr(part, "__name__", part))
def test_a_public_name_has_an_example(module, name):
    found = getattr(module, name)
    assert f"{found.__module__}.{found.__qualname__}" in EXAMPLES
