"""Where bytes lie: one place that tells each library how to reach a URL, quickly and without stale listings.

Limit: credentials and endpoint come from the usual AWS environment variables only (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL).
"""

from __future__ import annotations

import os
import re
import uuid
from typing import Any

import fsspec

from sli.errors import StoreError

CONNECT_SECONDS = 5
"""How long a connection may take: who waits for an address that is wrong wants to know soon."""


BLOCK = 16 << 20


def on_s3(url: str) -> bool:
    return url.startswith(("s3://", "s3a://"))


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, without stale listings, and the path on it."""
    options: dict[str, Any] = {}
    if on_s3(url):
        config = {"connect_timeout": CONNECT_SECONDS, "retries": {"max_attempts": 2}}
        # The endpoint is named so that a cached file system is not taken for one at another.
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
        options = {"use_listings_cache": False, "config_kwargs": config, "endpoint_url": endpoint}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return fs, path


def delta_options(url: str) -> dict[str, str]:
    """Storage options of the table library."""
    if not on_s3(url):
        return {}
    options = {"connect_timeout": f"{CONNECT_SECONDS}s", "max_retries": "4", "retry_timeout": "30s"}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def check_exclusive_writes(url: str) -> None:
    """Raise StoreError where a store would lose one of two commits made at once.

    Writes an object twice on the condition that there is none: the second write must be refused.
    """
    if not on_s3(url):
        return
    fs, root = filesystem(url)
    probe = f"{root.rstrip('/')}/_probe-{uuid.uuid4().hex}"
    try:
        fs.pipe_file(probe, b"", mode="create")
        try:
            fs.pipe_file(probe, b"", mode="create")
        except OSError as refused:
            if isinstance(refused, FileExistsError) or "PreconditionFailed" in f"{refused!r} {refused.__cause__!r}":
                return
            raise
        finally:
            fs.rm_file(probe)
    except Exception as error:
        raise StoreError("the store cannot be written", where=url, found=plain(error)) from error
    raise StoreError(
        "the object store ignores conditional writes",
        where=url,
        expected="a second write with `If-None-Match: *` to be refused (412)",
        found="it was accepted, so one of two runs at once could be lost",
        todo="use a store that honours it, such as Amazon S3, MinIO or SeaweedFS, or a folder",
    )


def read_through(url: str) -> None:
    """Read an object to its end, to tell bytes that cannot be fetched from bytes that make no sense.

    Raises whatever the file system does.
    """
    fs, path = filesystem(url)
    with fs.open(path, "rb") as opened:
        while opened.read(BLOCK):
            pass


def plain(error: BaseException | None) -> str:
    """What an error says, on one line, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)) or type(error).__name__
    return re.sub(r"\s+", " ", text).strip()[:300]
