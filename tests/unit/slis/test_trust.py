"""Python that a config names is run by what needs it: not to plan or to read, and not at all with --no-code."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from pathlib import Path

import pytest
from desk import Desk

from sli.command.cli import main
from sli.config.load import load_config
from sli.errors import ConfigError
from sli.slis.custom.imports import load, source
from sli.slis.custom.mergeable import Mergeable
from sli.slis.custom.python import from_python
from sli.slis.custom.signature import source_hash
from sli.slis.custom.source_file import read_signature

CONFIGS = Path(__file__).parents[3] / "configs"
PLAIN = '''
import os
import pathlib
from sli.mergeable import count as n_of, mergeable, total

pathlib.Path(__file__).with_name("imported").touch()


def gap(y_true, y_pred, weight=None, *, by: int = 1, **more):
    """Mean of the difference."""
    return float((y_pred - y_true).mean())
    # a last word


@mergeable(n=n_of("usable"), loss=total("abs(prediction - label::INT)", where="usable"))
def loss(s):
    return s["loss"] / s["n"]


def last(y_true, y_pred, /): return 1.0'''
UNTOLD = {
    "decorated": "import functools\n@functools.cache\ndef f(a, b):\n    return 1.0\n",
    "twice": "def f(a, b):\n    return 1.0\ndef f(a, b):\n    return 2.0\n",
    "bound again": "def f(a, b):\n    return 1.0\nf = abs\n",
    "bound by a function": "def f(a, b):\n    return 1.0\ndef g():\n    global f\n    f = abs\n",
    "imported": "from os.path import join as f\n",
    "all imported": "def f(a, b):\n    return 1.0\nfrom math import *\n",
    "on a condition": "if True:\n    def f(a, b):\n        return 1.0\n",
    "a class": "class f:\n    def __call__(self, a, b):\n        return 1.0\n",
    "a lambda": "f = lambda a, b: 1.0\n",
    "no such name": "def g(a, b):\n    return 1.0\n",
    "no Python": "def f(:\n",
    "states worked out": "from sli.mergeable import count, mergeable\nW = ''\n@mergeable(n=count(W))\ndef f(s): 1\n",
    "states of another kind": "def count(x):\n    return x\n@count\ndef f(s):\n    return 1\n",
}


def named(root: Path) -> str:
    """Modules stay loaded: a name of its own for each folder."""
    return "trusted_" + hashlib.sha256(str(root).encode()).hexdigest()[:10]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk.made(tmp_path, capsys)
    module = named(tmp_path)
    (tmp_path / f"{module}.py").write_text(PLAIN)
    slis = [{"name": name, "python": f"{module}:{name}"} for name in ("gap", "loss", "last")]
    made.configure(slis=["accuracy", *slis])
    return made


@pytest.mark.parametrize("name", ["f2", "worst_mae", "weighted_bias", "error_growth", "weighted_mae"])
def test_a_file_tells_of_the_examples_what_their_import_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    told, function = read_signature(f"my_metrics:{name}", CONFIGS), load(f"my_metrics:{name}", CONFIGS)
    assert told is not None
    if isinstance(function, Mergeable):
        assert told.source == source(function.value)
        assert told.states == function.states
    else:
        assert told.source == source(function)
        assert [each.name for each in told.parameters] == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", ["gap", "loss", "last"])
def test_a_definition_is_the_same_whether_the_file_tells_it_or_the_function(desk: Desk, name: str) -> None:
    call = f"{named(desk.root)}:{name}"
    told = read_signature(call, desk.root)
    assert told is not None
    before = source_hash({"python": call}, desk.root)
    assert not (desk.root / "imported").exists()
    function = load(call, desk.root)
    assert (desk.root / "imported").exists()
    assert told.source == source(function.value if isinstance(function, Mergeable) else function)
    if isinstance(function, Mergeable):
        assert told.states == function.states
    else:
        known = inspect.signature(function).parameters.values()
        assert [(p.name, p.kind, p.default is p.empty) for p in told.parameters] == [
            (p.name, p.kind, p.default is p.empty) for p in known
        ]
    assert source_hash({"python": call}, desk.root) == before
    # What is loaded is what would run, whatever the file holds by now.
    assert read_signature(call, desk.root) is None


@pytest.mark.parametrize("text", UNTOLD.values(), ids=UNTOLD)
def test_what_a_file_does_not_tell_is_not_guessed(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{named(tmp_path)}.py").write_text(text)
    assert read_signature(f"{named(tmp_path)}:f", tmp_path) is None


def test_what_lies_elsewhere_is_not_looked_for_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("def mean(a, b):\n    return 1.0\n")
    load("statistics:mean", None)
    for call in ("statistics:mean", "sys:exit", "../x:f", ":f", "no_such:f", "a b:f"):
        assert read_signature(call, tmp_path) is None


def test_a_plan_and_what_reads_results_import_nothing(desk: Desk) -> None:
    mark = desk.root / "imported"
    for command in ("plan", "backfill"):
        asked = ["--start", "2024-01-15", "--end", "2024-01-16", "--dry-run"] if command == "backfill" else []
        said = desk.call(command, str(desk.config), "--as-of", "2024-02-01", *asked)
        assert said.code == 0, said.err
        assert not mark.exists()
    assert desk.run().code == 0
    assert mark.exists()
    mark.unlink()
    # What is loaded stays so: a process of its own would import it anew.
    planned = desk.call("plan", str(desk.config), "--as-of", "2024-02-01")
    assert planned.has("nothing to do")
    module = desk.root / f"{named(desk.root)}.py"
    module.write_text("import nothing_of_this_name\n")
    for command in (["show"], ["show", "--table", "runs"], ["query", "accuracy"]):
        said = desk.call(command[0], str(desk.config), *command[1:])
        assert said.code == 0, said.err
    assert not mark.exists()


def test_a_module_that_cannot_be_imported_ends_a_run_before_its_work(desk: Desk) -> None:
    (desk.root / f"{named(desk.root)}.py").write_text(PLAIN.replace("import os\n", "import nothing_of_this_name\n"))
    said = desk.run()
    assert said.code == 2
    assert said.has("slis[1]", "cannot be imported", "No module named 'nothing_of_this_name'")
    assert desk.untouched


def test_no_code_refuses_what_would_run_it_and_reads_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run().code == 0
    (desk.root / "imported").unlink()
    span = ["--start", "2024-01-15", "--end", "2024-01-16"]
    for command in (["run"], ["backfill", *span], ["verify"]):
        for refuse in (["--no-code"], []):
            if not refuse:
                monkeypatch.setenv("SLI_NO_CODE", "1")
            said = desk.call(command[0], str(desk.config), *command[1:], *refuse)
            assert said.code == 2
            assert said.has("refuses it", "slis, gap: ", "slis, loss: ", "slis, last: ", "--no-code")
            assert os.environ.get("SLI_NO_CODE") == (None if refuse else "1")
            monkeypatch.delenv("SLI_NO_CODE", raising=False)
    for command in (["plan", "--as-of", "2024-02-01"], ["show"], ["show", "--table", "audit"], ["query", "accuracy"]):
        said = desk.call(command[0], str(desk.config), *command[1:], "--no-code")
        assert said.code == 0, said.err
    assert desk.call("query", str(desk.config), "loss", "--no-code").code == 2
    assert not (desk.root / "imported").exists()


def test_no_code_refuses_a_factory(desk: Desk) -> None:
    (desk.root / "factory.py").write_text("raise SystemExit('ran')\n")
    desk.configure(dask={"factory": "factory:client"})
    for command in ("run", "verify"):
        said = desk.call(command, str(desk.config), "--no-code")
        assert said.code == 2
        assert said.has("refuses it", "dask: factory:client")
    assert desk.call("plan", str(desk.config), "--as-of", "2024-02-01", "--no-code").code == 0


def test_no_code_leaves_a_config_without_any_as_it_is(desk: Desk) -> None:
    desk.configure(slis=["accuracy", {"name": "n", "states": {"n": "count(*)"}, "value": "n"}])
    assert desk.run("--no-code").code == 0
    assert desk.call("verify", str(desk.config), "--no-code").code == 0


def test_a_function_that_only_its_import_tells_of_is_refused_by_a_plan_without_code(desk: Desk) -> None:
    desk.configure(slis=[{"name": "f", "python": "sklearn.metrics:f1_score"}])
    said = desk.call("plan", str(desk.config), "--as-of", "2024-02-01", "--no-code")
    assert said.code == 2
    assert said.has("slis[0]", "refuses it", "'sklearn.metrics:f1_score'")
    assert load_config(desk.config).declared[0].name == "f"


def test_the_library_refuses_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLI_NO_CODE", "1")
    with pytest.raises(ConfigError, match="refuses it"):
        load("statistics:mean", None)
    entry = {"name": "gap", "python": f"{named(desk.root)}:gap"}
    # What it is made of is known all the same.
    assert from_python(entry, desk.root, "prediction").states.keys() == {"sample", "usable", "window"}
    assert main(["run", str(desk.config)]) == 2
