"""Which files a folder means, and what two configs must not share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import config_tree

from sli.config.model import Config
from sli.config.several import are_several, find_configs, load_models
from sli.errors import ConfigError


def write(path: Path, text: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_means_its_configs_but_not_their_bases(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", {"extends": "base.yaml", "model": "b"})
    write(tmp_path / "a.yml", {"extends": "champion.yaml", "model": "a"})
    write(tmp_path / "champion.yaml", {"extends": "common.yaml", "model": "champion"})
    for base in ("base.yaml", "common.yaml"):
        write(tmp_path / base, {"horizon": "1d"})
    for other, text in {
        "compose.yaml": "services: {}",
        "list.yaml": "- 1",
        "empty.yaml": "",
        "n.txt": "model: n",
    }.items():
        write(tmp_path / other, text)
    for hidden in (".c.yaml", "below/d.yaml"):
        write(tmp_path / hidden, {"model": "d"})
    models, notes = find_configs([str(tmp_path)])
    assert names(models) == ["a.yml", "b.yaml", "champion.yaml"]
    others = [tmp_path / name for name in ("compose.yaml", "empty.yaml", "list.yaml")]
    assert notes == [f"{other} is not a config: it has no key of one" for other in others]


def test_what_may_be_a_config_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "forgot.yaml", {"slis": ["accuracy"]})
    write(tmp_path / "itself.yaml", {"extends": "itself.yaml"})
    write(tmp_path / "invalid.yaml", "model: [")
    assert names(find_configs([str(tmp_path)])[0]) == ["forgot.yaml", "invalid.yaml", "itself.yaml"]


def test_files_are_taken_as_named_once_each_and_a_base_among_them_is_known(tmp_path: Path) -> None:
    base = write(tmp_path / "base.yaml", {"horizon": "1d"})
    a = write(tmp_path / "a.yaml", {"extends": "base.yaml", "model": "a"})
    other = write(tmp_path / "elsewhere/compose.yaml", "services: {}")
    models, notes = find_configs([str(other), str(a), str(base), str(tmp_path), str(tmp_path / "none.yaml")])
    assert models == [other, a, tmp_path / "none.yaml"]
    assert notes == []


def test_a_folder_without_a_config_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "compose.yaml", "services: {}")
    with pytest.raises(ConfigError, match="cannot be read: this folder has none") as caught:
        find_configs([str(tmp_path)])
    assert caught.value.where == str(tmp_path)


def test_a_folder_is_several_even_with_one_config(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.yaml", {"model": "a"}))
    assert (are_several([path]), are_several([str(tmp_path)]), are_several([path, path])) == (False, True, True)


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        (
            {},
            {"store": "./elsewhere/../store/"},
            ["two configs have the same store", "key store", "also in ", "b.yaml"],
        ),
        (
            {"model": "b"},
            {"store": "other"},
            ["two configs have the same model name", "key model", "found: b, also in"],
        ),
        ({"model": "b"}, {}, ["two configs have the same store", "also model: two configs have the same model name"]),
        ({"store": "s3://b/a/"}, {"store": "s3a://b/a"}, ["two configs have the same store"]),
        ({"store": "s3://b/a"}, {"store": "s3://b/b"}, []),
        ({"store": "s3://b/a"}, {"store": "s3://b/a", "storage": {"s3": {"endpoint": "http://h:1"}}}, []),
        ({}, {"store": "store/b"}, []),
    ],
)
def test_two_configs_must_not_share_a_store_or_a_name(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], parts: list[str]
) -> None:
    a = write(tmp_path / "a.yaml", config_tree(**{"model": "a", **one}))
    b = write(tmp_path / "b.yaml", config_tree(**{"model": "b", **other}))
    c = write(tmp_path / "c.yaml", config_tree(model="c", store="of-c"))
    (*pair, third), _ = load_models([str(a), str(b), str(c)])
    assert isinstance(third.config, Config)
    for model in pair:
        assert isinstance(model.config, ConfigError if parts else Config)
        assert [part for part in parts if part not in f"{model.config} b.yaml"] == []


def test_a_config_that_cannot_be_used_has_its_error_and_the_others_are_loaded(tmp_path: Path) -> None:
    good = write(tmp_path / "a.yaml", config_tree())
    wrong = write(tmp_path / "b.yaml", config_tree(level=2))
    (first, second), _ = load_models([str(good), str(wrong)], ["horizon=3d"])
    assert isinstance(first.config, Config)
    assert (first.name, first.config.horizon.text) == ("m", "3d")
    assert (second.name, type(second.config)) == (str(wrong), ConfigError)


def test_a_setting_that_is_none_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a setting must be key=value"):
        load_models([str(write(tmp_path / "a.yaml", config_tree()))], ["horizon"])
