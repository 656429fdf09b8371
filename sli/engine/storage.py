"""How each library reaches a URL: file systems without stale listings, options of the table library, credentials.

What the config's `storage` does not set comes from environment variables, profiles and roles, as for other AWS tools.
Limit: one set of options for each kind of URL, so both logs and the store share one S3 server.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sli.errors import ConfigError, StoreError, check_known, nearest
from sli.masking import holds_credentials, keep_secrets, masked

CONNECT_SECONDS = 5
"""How long opening a connection may take; short, so that a wrong address fails soon."""
READERS = 16
"""The most requests at the same time."""
S3_OPTIONS = ("endpoint", "region", "profile", "key", "secret", "token")
SELF_RENEWED = ("iam-role", "container-role", "assume-role-with-web-identity")
"""Kinds of credentials that the table library finds and renews itself, by their names in botocore."""


@dataclass(frozen=True)
class Storage:
    """Options of the config by kind of URL. They are sent to Dask's workers, and never shown: they contain secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        keep_secrets(self.options)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # A worker masks the secrets too, since it formats the errors of its libraries.
        self.__dict__.update(state)
        keep_secrets(self.options)

    @staticmethod
    def from_config(tree: object) -> Storage:
        """From the config's `storage`. Raises ConfigError, whose message never contains a value of an option."""
        if isinstance(tree, Storage):
            return tree
        if not isinstance(tree, Mapping) or not all(isinstance(options, Mapping) for options in tree.values()):
            raise ConfigError(
                "this must be a mapping of mappings", where="storage", expected="for example {s3: {endpoint: URL}}"
            )
        import fsspec

        for name, options in tree.items():
            known = [kind for kind in fsspec.available_protocols() if kind not in ("s3a", "file", "local")]
            if name not in known:
                raise ConfigError(
                    f"unknown kind of URL '{name}'",
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
        check_known(f"unknown key '{name}'", name, S3_OPTIONS, where=where)
        if not isinstance(value, str) or not value:
            raise ConfigError("this must be text", where=where, todo="put it in quotes")
    if ("key" in options) != ("secret" in options) or ("token" in options and "key" not in options):
        raise ConfigError(
            "a key needs its secret, and a secret or token its key",
            where="storage.s3",
            expected="key and secret, or neither",
            todo="write both as `${NAME}`, from the environment",
        )
    if "key" in options and "profile" in options:
        raise ConfigError(
            "both a key and a profile are given", where="storage.s3", expected="key and secret, or profile"
        )
    if not re.match(r"https?://", options.get("endpoint", "http://")):
        raise ConfigError("this is not an address", where="storage.s3.endpoint", expected="http://... or https://...")


def on_s3(url: str) -> bool:
    """Whether a URL leads to S3 or a server that speaks its protocol."""
    return url.startswith(("s3://", "s3a://"))


STACK_TRACE = re.compile(r"\n\s*(?:stack backtrace:|0: )")
"""The beginning of the stack trace that the table library adds to some of its errors."""
NO_OPTIONS = Storage()
"""No options: everything comes from the environment."""


def filesystem(url: str, storage: Storage = NO_OPTIONS) -> tuple[Any, str]:
    """The file system of a URL, and the path on it. Listings of remote file systems are not cached.

    Raises ConfigError if no file system is known for the URL, or its package is not installed.
    """
    import fsspec  # not at the top: it imports asyncio, which takes a tenth of a run that finds nothing to do

    check_no_credentials(url, url)
    if "::" in url:
        raise ConfigError(
            "chained URLs are not supported",
            where=url,
            todo="write the URL of the files themselves",
        )
    protocol = url.partition("://")[0] if "://" in url else "file"
    options = _s3fs_options(storage.s3) if on_s3(url) else dict(storage.options.get(protocol, {}))
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise ConfigError(
            f"the package that reads {protocol}:// is missing",
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
    """Raise ConfigError for a URL with credentials, since tables, plans and messages contain URLs."""
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
    # fsspec caches file systems by their options: without the endpoint it would reuse the one of another server.
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
    """Storage options of the table library. They include credentials of profiles, which s3fs finds and it does not.

    Raises StoreError if a profile gives no credentials.
    """
    if not on_s3(url):
        return {}
    s3, profile = storage.s3, {}
    if "key" not in s3 and ("profile" in s3 or "AWS_ACCESS_KEY_ID" not in os.environ):
        profile = _profile_options(url, s3.get("profile"))
    names = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
    names |= {"region": "aws_region", "endpoint": "aws_endpoint_url"}
    options = {names[key]: value for key, value in {**profile, **s3}.items() if key in names}
    if "aws_access_key_id" in options and os.environ.get("AWS_SESSION_TOKEN"):
        # The environment's token belongs to another key.
        options.setdefault("aws_session_token", "")
    if "aws_endpoint_url" not in options and (endpoint := _endpoint()):
        options["aws_endpoint_url"] = endpoint
    if options.get("aws_endpoint_url", "").startswith("http://"):
        options["aws_allow_http"] = "true"
    return {"connect_timeout": f"{CONNECT_SECONDS}s", "max_retries": "4", "retry_timeout": "30s", **options}


def _profile_options(url: str, profile: str | None) -> dict[str, str]:
    """What AWS tools find in profiles, single sign-on and roles, without what the table library renews itself."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session(profile=profile)
    try:
        settings = session.get_scoped_config()
        options = {"endpoint": settings.get("endpoint_url"), "region": session.get_config_variable("region")}
        credentials = session.get_credentials() if settings else None
        if credentials is not None and credentials.method not in SELF_RENEWED:
            frozen = credentials.get_frozen_credentials()
            options |= {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
    except BotoCoreError as error:
        raise StoreError("the profile gives no credentials", where=url, found=message_of(error)) from error
    return {name: value for name, value in options.items() if value}


def check_exclusive_writes(url: str, storage: Storage = NO_OPTIONS) -> None:
    """Raise StoreError if the store ignores conditional writes: it would lose one of two commits at the same time.

    Writes an object twice on the condition that it does not exist: the store must refuse the second write.
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
        expected="it refuses a second write with `If-None-Match: *` (412)",
        found="it accepted the write, so it could lose one of two runs at the same time",
        todo="use a store that refuses it, for example Amazon S3, MinIO or SeaweedFS, or a folder",
    )


def create(fs: Any, path: str, content: bytes) -> bool:
    """Write an object unless it exists; whether it was written. Other errors of the file system are raised."""
    try:
        fs.pipe_file(path, content, mode="create")
    except OSError as refused:
        if isinstance(refused, FileExistsError) or "PreconditionFailed" in f"{refused!r} {refused.__cause__!r}":
            return False
        raise
    return True


def message_of(error: BaseException | None) -> str:
    """The message of an error on one line, without colours, credentials and stack traces, at most 300 characters."""
    text = STACK_TRACE.split(re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)))[0].strip() or type(error).__name__
    return masked(re.sub(r"\s+", " ", text).strip())[:300]
