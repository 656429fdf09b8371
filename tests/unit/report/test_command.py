"""`sli report`: what it writes and says, of one config and of a folder of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from builders import config_tree
from desk import Desk, Said

import sli
from sli.command.cli import main


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def report(desk: Desk, *arguments: str) -> Said:
    code = main(["report", *arguments])
    said = desk.capsys.readouterr()
    return Said(code, said.out, said.err)


def test_the_page_of_a_model_is_written_and_told_in_a_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.root)
    first = report(desk, "c.yaml")
    assert (first.code, (desk.root / "report.html").is_file()) == (0, True)
    assert first.has("report.html: ", " kB, made in ", "nothing is published yet: `sli run c.yaml`")
    sli.run(desk.config, as_of="2024-02-01")
    told = json.loads(report(desk, "c.yaml", "--json", "-o", "pages/m.html").out)
    assert told["bytes"] == (desk.root / "pages/m.html").stat().st_size
    assert report(desk, "c.yaml", "-o", "pages").has("this is a folder", "write -o pages/report.html")


def test_a_folder_gets_a_page_each_and_an_index_also_if_one_config_is_wrong(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.root)
    folder = desk.root / "models"
    folder.mkdir()
    for name in ("a", "b"):
        tree = config_tree(desk.root, model=name, store=f"{desk.root}/{name}")
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree | ({"horizon": "soon"} if name == "b" else {})))
    said = report(desk, "models")
    assert said.code == 2
    assert said.has("a: nothing published, reports/a.html: ", "horizon", "reports/index.html: ")
    assert sorted(file.name for file in (desk.root / "reports").iterdir()) == ["a.html", "index.html"]
    told = json.loads(report(desk, "models", "--json").out)
    assert [(one["state"], "error" in one) for one in told["models"]] == [
        ("nothing published", False),
        ("no page", True),
    ]
    (desk.root / "page.txt").write_text("")
    assert report(desk, "models", "-o", "page.txt").has("need a folder, and this is a file")
