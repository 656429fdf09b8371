"""Where bytes lie: one place that tells each library how to reach a URL, quickly and without stale listings.

What the config's `storage` leaves open comes from where AWS tools look: environment variables, profiles, roles. Limit:
one set of options for each kind of URL, so both logs and the store share their S3 server.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec

from sli.errors import ConfigError, StoreError, nearest
from sli.masking import holds_credentials, keep_secrets, masked

CONNECT_SECONDS = 5
"""How long a connection may take: who waits for an address that is wrong wants to know soon."""


READERS = 16
"""Requests made at once."""
BLOCK = 16 << 20
S3_OPTIONS = ("endpoint", "region", "profile", "key", "secret", "token")
SELF_RENEWED = ("iam-role", "container-role", "assume-role-with-web-identity")
"""Where botocore finds credentials that the table library finds, and renews, by itself."""


@dataclass(frozen=True)
class Storage:
    """Options of the config by kind of URL. They travel to Dask's workers, and are shown nowhere: they hold secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        keep_secrets(self.options)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # Errors of a worker's libraries are told there.
        self.__dict__.update(state)
        keep_secrets(self.options)

    @staticmethod
    def of(tree: Any) -> Storage:
        """From the config's `storage`. Raises ConfigError, which never repeats a value."""
        if isinstance(tree, Storage):
            return tree
        if not isinstance(tree, Mapping) or not all(isinstance(each, Mapping) for each in tree.values()):
            raise ConfigError(
                "this must be a mapping of mappings", where="storage", expected="such as {s3: {endpoint: URL}}"
            )
        for name, options in tree.items():
            known = [each for each in fsspec.available_protocols() if each not in ("s3a", "file", "local")]
            if name not in known:
                raise ConfigError(
                    f"'{name}' is no kind of URL",
                    where="storage",
                    expected="s3, or another protocol of fsspec",
                    todo=nearest(str(name), known),
                )
            if name == "s3":
                _check_s3(options)
        return Storage({str(name): dict(options) for name, options in tree.items()})

    @property
    def s3(self) -> Mapping[str, str]:
        return self.options.get("s3", {})


def _check_s3(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        where = f"storage.s3.{name}"
        if name not in S3_OPTIONS:
            raise ConfigError(
                f"unknown key '{name}'",
                where=where,
                expected=f"one of {', '.join(S3_OPTIONS)}",
                todo=nearest(str(name), S3_OPTIONS),
            )
        if not isinstance(value, str) or not value:
            raise ConfigError("this must be text", where=where, todo="put it in quotes")
    if ("key" in options) != ("secret" in options) or ("token" in options and "key" not in options):
        raise ConfigError(
            "a key and its secret belong together",
            where="storage.s3",
            expected="key and secret, or neither",
            todo="write both as `${NAME}`, from the environment",
        )
    if "key" in options and "profile" in options:
        raise ConfigError("there are two sets of credentials", where="storage.s3", expected="a key, or a profile")
    if not re.match(r"https?://", options.get("endpoint", "http://")):
        raise ConfigError("this is no address", where="storage.s3.endpoint", expected="http://... or https://...")


def on_s3(url: str) -> bool:
    return url.startswith(("s3://", "s3a://"))


STACK = re.compile(r"\n\s*(?:stack backtrace:|0: )")
"""Begin of the stack that the table library adds to some of its errors."""
NO_OPTIONS = Storage()
"""All options left to the environment."""


def filesystem(url: str, storage: Storage = NO_OPTIONS) -> tuple[Any, str]:
    """The file system of a URL, without stale listings, and the path on it.

    Raises ConfigError where no file system is known for it, or its driver is not installed.
    """
    check_no_credentials(url, url)
    if "::" in url:
        raise ConfigError(
            "chained URLs are not read",
            where=url,
            todo="write the URL of the files themselves",
        )
    protocol = url.partition("://")[0] if "://" in url else "file"
    options = _s3fs_options(storage.s3) if on_s3(url) else dict(storage.options.get(protocol, {}))
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise ConfigError(
            f"a package is missing that reads {protocol}://",
            where=url,
            found=message_of(error),
            todo="install it with pip",
        ) from error
    except ValueError as error:
        if protocol in fsspec.available_protocols():
            raise
        near = nearest(protocol, fsspec.available_protocols())
        raise ConfigError("no file system is known for this URL", where=url, found=protocol, todo=near) from error
    return fs, path


def check_no_credentials(url: str, where: str) -> None:
    """Raise ConfigError for a URL with credentials: URLs stand in tables, plans and messages."""
    if holds_credentials(url):
        kind = url.partition("://")[0]
        raise ConfigError(
            "credentials do not belong in a URL",
            where=where,
            expected="a URL without credentials",
            found=url,
            todo=f"write them as `storage: {{{kind}: {{...: ${{NAME}}}}}}` and set NAME in the environment",
        )


def _s3fs_options(s3: Mapping[str, str]) -> dict[str, Any]:
    connection = {"connect_timeout": CONNECT_SECONDS, "retries": {"max_attempts": 2}}
    named = {name: s3[name] for name in ("key", "secret", "token", "profile") if name in s3}
    region = {"client_kwargs": {"region_name": s3["region"]}} if "region" in s3 else {}
    # The endpoint is named so that a cached file system is not taken for one at another.
    return {
        "use_listings_cache": False,
        "config_kwargs": connection,
        "endpoint_url": s3.get("endpoint") or _endpoint(),
        **named,
        **region,
    }


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def delta_options(url: str, storage: Storage = NO_OPTIONS) -> dict[str, str]:
    """Storage options of the table library, with what s3fs finds by itself and that library does not: profiles.

    Raises StoreError where the credentials of a profile cannot be had.
    """
    if not on_s3(url):
        return {}
    s3, found = storage.s3, {}
    if "key" not in s3 and ("profile" in s3 or "AWS_ACCESS_KEY_ID" not in os.environ):
        found = _of_profile(url, s3.get("profile"))
    names = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
    names |= {"region": "aws_region", "endpoint": "aws_endpoint_url"}
    options = {names[key]: value for key, value in {**found, **s3}.items() if key in names}
    if "aws_access_key_id" in options and os.environ.get("AWS_SESSION_TOKEN"):
        # The environment's token belongs to another key.
        options.setdefault("aws_session_token", "")
    if "aws_endpoint_url" not in options and (endpoint := _endpoint()):
        options["aws_endpoint_url"] = endpoint
    if options.get("aws_endpoint_url", "").startswith("http://"):
        options["aws_allow_http"] = "true"
    return {"connect_timeout": f"{CONNECT_SECONDS}s", "max_retries": "4", "retry_timeout": "30s", **options}


def _of_profile(url: str, profile: str | None) -> dict[str, str]:
    """What AWS tools find in profiles, single sign-on and roles, but for what the table library renews by itself."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session(profile=profile)
    try:
        chosen = session.get_scoped_config()
        found = {"endpoint": chosen.get("endpoint_url"), "region": session.get_config_variable("region")}
        credentials = session.get_credentials() if chosen else None
        if credentials is not None and credentials.method not in SELF_RENEWED:
            now = credentials.get_frozen_credentials()
            found |= {"key": now.access_key, "secret": now.secret_key, "token": now.token}
    except BotoCoreError as error:
        raise StoreError("the credentials of the profile cannot be had", where=url, found=message_of(error)) from error
    return {name: value for name, value in found.items() if value}


def check_exclusive_writes(url: str, storage: Storage = NO_OPTIONS) -> None:
    """Raise StoreError where a store would lose one of two commits made at once.

    Writes an object twice on the condition that there is none: the second write must be refused.
    """
    if not on_s3(url):
        return
    fs, root = filesystem(url, storage)
    probe = f"{root.rstrip('/')}/_probe-{uuid.uuid4().hex}"
    try:
        fs.pipe_file(probe, b"", mode="create")
        try:
            if not create(fs, probe, b""):
                return
        finally:
            fs.rm_file(probe)
    except Exception as error:
        raise StoreError("the store cannot be written", where=url, found=message_of(error)) from error
    raise StoreError(
        "the object store ignores conditional writes",
        where=url,
        expected="a second write with `If-None-Match: *` to be refused (412)",
        found="it was accepted, so one of two runs at once could be lost",
        todo="use a store that honours it, such as Amazon S3, MinIO or SeaweedFS, or a folder",
    )


def create(fs: Any, path: str, content: bytes) -> bool:
    """Write an object unless there is one; whether it was written. Raises whatever else the file system does."""
    try:
        fs.pipe_file(path, content, mode="create")
    except OSError as refused:
        if isinstance(refused, FileExistsError) or "PreconditionFailed" in f"{refused!r} {refused.__cause__!r}":
            return False
        raise
    return True


def read_to_end(url: str, storage: Storage) -> None:
    """Read an object to its end, to tell bytes that cannot be fetched from bytes that make no sense.

    Raises whatever the file system does.
    """
    fs, path = filesystem(url, storage)
    with fs.open(path, "rb") as opened:
        while opened.read(BLOCK):
            pass


def message_of(error: BaseException | None) -> str:
    """What an error says, on one line, without colours, credentials and the stack of a library."""
    text = STACK.split(re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)))[0].strip() or type(error).__name__
    return masked(re.sub(r"\s+", " ", text).strip())[:300]
