"""Where a page may be written: in the place of an older page or of nothing. On S3 with the type that browsers show."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from builders import config_tree

from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.storage import NO_OPTIONS, filesystem
from sli.errors import ConfigError
from sli.report.files import MARK, check_file, write_file


def config_in(folder: Path, **keys: object) -> Config:
    (folder / "c.yaml").write_text(yaml.safe_dump(config_tree(folder, **keys)))
    return load_config(folder / "c.yaml")


def test_a_page_on_s3_is_shown_by_a_browser_and_replaced_whole(s3: str, tmp_path: Path) -> None:
    url, config = f"{s3}/report.html", config_in(tmp_path)
    for content in (MARK + b"<p>old", b"<p>new"):
        check_file(url, config)
        write_file(url, content, NO_OPTIONS)
    with pytest.raises(ConfigError, match="not a page of sli"):
        check_file(url, config)
    fs, path = filesystem(url)
    assert fs.cat_file(path) == b"<p>new"
    assert fs.info(path)["ContentType"].startswith("text/html")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("c.yaml", "not a page of sli"),
        ("link", "not a page of sli"),
        ("notes.html", "not a page of sli"),
        ("logs/report.html", "into a log"),
        ("logs/2026/report.html", "into a log"),
        ("store/results/report.html", "into the table `results`"),
        ("/dev/null", "not a page of sli"),
    ],
)
def test_a_page_replaces_no_config_no_log_and_no_table(tmp_path: Path, place: str, problem: str) -> None:
    config = config_in(tmp_path, store=f"{tmp_path}/store", predictions__path=f"{tmp_path}/logs")
    (tmp_path / "link").symlink_to(tmp_path / "c.yaml")
    (tmp_path / "notes.html").write_text("<!DOCTYPE html><p>my notes")
    with pytest.raises(ConfigError, match=problem) as error:
        check_file(f"{tmp_path / place}", config)
    assert error.value.exit_code == 2


def test_a_page_may_stand_beside_the_tables_and_logs_and_replace_a_page(tmp_path: Path) -> None:
    config = config_in(tmp_path, store=f"{tmp_path}/store", predictions__path=f"{tmp_path}/logs/*.parquet")
    (tmp_path / "old.html").write_bytes(b"<!DOCTYPE html>" + MARK)
    (tmp_path / "empty.html").touch()
    for place in ("report.html", "store/report.html", "logs/report.html", "old.html", "empty.html"):
        check_file(str(tmp_path / place), config)
