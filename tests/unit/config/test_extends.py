"""`extends`: what a config takes from its bases, where their paths lead, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import config_tree

from sli.config.load import load_config
from sli.config.sections import Scheduler, Workers
from sli.errors import ConfigError
from sli.slis.custom.imports import load


def write(path: Path, tree: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A whole config in a folder of its own."""
    return write(tmp_path / "shared/base.yaml", config_tree())


def child(base: Path, **keys: Any) -> Path:
    return write(base.parents[1] / "a.yaml", {"extends": "shared/base.yaml", **keys})


def test_a_config_takes_what_it_lacks_and_its_own_keys_win(base: Path) -> None:
    config = load_config(child(base, model="a", horizon="2d", predictions={"value": "p"}, slis=["recall", "precision"]))
    assert (config.model, config.horizon.text, config.predictions.value) == ("a", "2d", "p")
    assert (config.predictions.time, config.feedback.value) == ("predicted_at", "label")
    assert [sli.name for sli in config.declared] == ["recall", "precision"]


def test_paths_start_from_the_folder_of_the_file_that_writes_them(base: Path, tmp_path: Path) -> None:
    config = load_config(child(base, feedback={"path": "labels"}, store="~/results"), ["predictions.path=logs"])
    assert config.store == str(Path("~/results").expanduser().resolve())
    assert config.predictions.path == (str(tmp_path / "logs"),), "a setting is the config's own"
    assert config.feedback.path == (str(tmp_path / "labels"),)
    assert load_config(child(base)).feedback.path == (str(tmp_path / "shared/feedback"),)


def test_paths_of_several_feedback_logs_start_there_too(base: Path) -> None:
    one = config_tree()["feedback"]
    write(base, config_tree(feedback=[one, {**one, "path": "../more"}]))
    logs = load_config(child(base)).feedback_logs
    assert [log.path for log in logs] == [(str(base.parent / "feedback"),), (str(base.parents[1] / "more"),)]


def test_tables_and_modules_that_a_base_names_lie_beside_it(base: Path, tmp_path: Path) -> None:
    write(base.with_name("mine.py"), "def cluster():\n    return 1\ndef f(y_true, y_pred):\n    return 0.0\n")
    slis = [{"name": "f", "python": "mine:f"}]
    write(base, config_tree(slis=slis, dask={"factory": "mine:cluster"}))
    config = load_config(child(base))
    assert config.folder == config.factory_folder == str(base.parent)
    assert load("mine:cluster", Path(config.factory_folder))() == 1
    own = load_config(child(base, slis=["accuracy"]))
    assert (own.folder, own.factory_folder) == (str(tmp_path), str(base.parent))
    drift = {"sli": "psi", "of": "fare", "against": {"table": "train.parquet"}}
    write(base, config_tree(slis=[drift], predictions__columns=["fare"]))
    with pytest.raises(ConfigError) as caught:
        load_config(child(base))
    assert str(base.with_name("train.parquet")) in str(caught.value)


def test_chains_are_followed_and_variables_are_read_once_all_is_together(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(base, config_tree(store="${ROOT_OF_STORES}/m", predictions__path="${LOGS_OF_M}"))
    middle = write(tmp_path / "shared/team/middle.yaml", {"extends": "../base.yaml", "level": 0.9})
    top = write(tmp_path / "top.yaml", {"extends": "shared/team/middle.yaml", "model": "top"})
    monkeypatch.setenv("ROOT_OF_STORES", "stores")
    monkeypatch.delenv("LOGS_OF_M", raising=False)
    config = load_config(top, ["predictions.path=here"])
    assert (config.model, config.level) == ("top", 0.9)
    assert config.store == str(base.parent / "stores/m")
    assert middle.exists()


def test_lists_and_what_is_one_thing_replace_the_base_and_null_takes_away(base: Path) -> None:
    write(base, config_tree(dask={"workers": 2}, memory="1GB", storage={"s3": {"region": "a", "profile": "p"}}))
    config = load_config(child(base, dask={"scheduler": "tcp://h:1"}, memory=None, storage={"s3": {"region": "b"}}))
    assert config.dask == Scheduler(scheduler="tcp://h:1")
    assert config.memory is None
    assert config.storage.s3 == {"region": "b", "profile": "p"}
    assert load_config(child(base, grains=["day"])).dask == Workers(workers=2)


@pytest.mark.parametrize(
    ("extends", "base_text", "parts"),
    [
        ("none.yaml", "", ["cannot be read: No such file", "none.yaml, which ", "a.yaml extends", "check `extends`"]),
        (["base.yaml"], "", ["a.yaml, key extends", "must be text", "the path of one config", "['base.yaml']"]),
        ("b.yaml", "[]", ["must be a mapping", "b.yaml, which ", "found: list"]),
        ("b.yaml", "a: [", ["invalid YAML", "b.yaml, which ", "line 1"]),
        (
            "b.yaml",
            "extends: a.yaml",
            ["each other in a circle", "b.yaml, key extends", "b.yaml -> ", "remove `extends"],
        ),
        ("a.yaml", "", ["each other in a circle", "a.yaml, key extends", "a.yaml -> "]),
        ("b.yaml", "extends: none.yaml", ["none.yaml, which ", "b.yaml extends"]),
        ("b.yaml", "modle: m", ["unknown key 'modle'", "a.yaml (extends ", "b.yaml), key modle", "mean 'model'?"]),
        ("b.yaml", "extend: c.yaml", ["unknown key 'extend'", "did you mean 'extends'?"]),
        ("b.yaml", "timezone: ${TZ}", ["environment variables are not read", "b.yaml), key timezone"]),
        ("${HOME}/b.yaml", "", ["cannot be read", "${HOME}/b.yaml, which "]),
    ],
)
def test_a_base_that_cannot_be_used_is_named_with_what_extends_it(
    tmp_path: Path, extends: Any, base_text: str, parts: list[str]
) -> None:
    if base_text:
        write(tmp_path / "b.yaml", base_text)
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path / "a.yaml", config_tree(extends=extends)))
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_setting_cannot_replace_the_base(base: Path) -> None:
    with pytest.raises(ConfigError, match="'extends' cannot be set"):
        load_config(child(base), ["extends=other.yaml"])


def test_the_configs_of_the_page_are_a_base_and_a_model(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/models.md").read_text()
    blocks = re.findall(r"```yaml\n# (.*?)\n(.*?)```", page, flags=re.DOTALL)
    for name, text in blocks:
        write(tmp_path / name, text)
    assert [name for name, _ in blocks] == ["configs/base.yaml", "configs/late.yaml"]
    config = load_config(tmp_path / "configs/late.yaml")
    assert config.predictions.path == (str(tmp_path / "logs/late/predictions"),)
    assert [sli.name for sli in config.declared] == ["accuracy", "recall"]


def test_bases_are_shown_as_the_config_was_typed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(base, level=2)
    monkeypatch.chdir(base.parents[1])
    with pytest.raises(ConfigError) as caught:
        load_config("a.yaml")
    assert caught.value.where == "a.yaml (extends shared/base.yaml), key level"
