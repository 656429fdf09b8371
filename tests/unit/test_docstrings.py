"""Every example in a docstring of the package runs, and every public function has one."""

import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest
from desk import Desk

import sli
import sli.mergeable

MODULES = [name for _, name, _ in pkgutil.walk_packages(sli.__path__, "sli.") if not name.endswith("__main__")]
EXAMPLES = {
    test.name: test
    for name in MODULES
    for test in doctest.DocTestFinder().find(importlib.import_module(name))
    if test.examples
}
PUBLIC = [(sli, name) for name in sli.__all__]
PUBLIC += [(sli.mergeable, name) for name in sli.mergeable.__all__]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder with the config `c.yaml` of a small job whose results are published."""
    desk = Desk(tmp_path_factory.mktemp("published"), None)
    slis = ["accuracy", {"name": "score_p90", "sli": "quantile", "q": 0.9}]
    desk.configure(slis=slis, slice_by=[[], ["site"]], grains=["hour", "day"])
    desk.predictions(site=["A", "B"] * 3)
    desk.feedback()
    sli.run(desk.config, as_of="2024-02-01")
    return desk.root


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, published, tmp_path, monkeypatch):
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    if name.startswith("sli.runs."):  # a run shows most where nothing is published yet
        shutil.rmtree(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    EXAMPLES[name].globs["config"] = tmp_path / "c.yaml"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(EXAMPLES[name], out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda part: getattr(part, "__name__", part))
def test_a_public_name_has_an_example(module, name):
    found = getattr(module, name)
    assert f"{found.__module__}.{found.__qualname__}" in EXAMPLES
