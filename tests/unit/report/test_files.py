"""Pages on S3: written at once, with the type that lets a browser show them."""

from __future__ import annotations

from sli.engine.storage import NO_OPTIONS, filesystem
from sli.report.files import check_file, write_file


def test_a_page_on_s3_is_shown_by_a_browser_and_replaced_whole(s3: str) -> None:
    url = f"{s3}/report.html"
    for content in (b"<p>old", b"<p>new"):
        check_file(url, NO_OPTIONS)
        write_file(url, content, NO_OPTIONS)
    fs, path = filesystem(url)
    assert fs.cat_file(path) == b"<p>new"
    assert fs.info(path)["ContentType"].startswith("text/html")
