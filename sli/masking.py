"""Hides secrets: all text that leaves the program (messages, tables, logs, `--json`) passes `masked`.

Secrets are: what a URL has before its host or in its signature; options of `storage` called key, secret, token or
password; values of `${NAME}` from the environment. Limit: a secret elsewhere in a config is not recognised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

SHORTEST = 4
"""A text of fewer characters is not masked: it occurs in too many other texts."""
LONG = 8
"""A secret of so many characters is masked within words too."""
HIDDEN = "***"
_CALLED = r"(?:key|secret|token|passw|pwd|credential|auth|sig\b|signature|sas\b|connection_string)"
SECRET_NAME = re.compile(_CALLED, re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(?<=://)(?:[^\s/:@\"'<>]*:(?!\d+(?:[/\s]|$))[^\s@\"'<>]*|[^\s/:@\"'<>]+)@")
_IN_QUERY = re.compile(rf"([?&;][\w.%-]*{_CALLED}[\w.%-]*=)[^\s&;#\"'<>]+", re.IGNORECASE)
_REPLACEMENTS: dict[str, str] = {}
"""What is shown instead of each secret of this process."""


def keep_secret(text: str, instead: str = HIDDEN) -> None:
    """From now on `masked` shows `instead` in place of a text."""
    if len(text) < SHORTEST or text == instead:
        return
    for form in (text, quote(text, safe=""), json.dumps(text)[1:-1]):
        _REPLACEMENTS.setdefault(form, instead)


def keep_secrets(options: object, name: str = "") -> None:
    """Keep the secrets in options: texts whose name says so, and what URLs have before their host."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            keep_secrets(value, f"{name} {key}")
    elif isinstance(options, str):
        if SECRET_NAME.search(name):
            keep_secret(options)
        for credentials in _BEFORE_HOST.findall(options):
            # Libraries print credentials without the URL around them, by which `masked` would find them.
            for part in (credentials, *credentials.removesuffix("@").split(":", 1)):
                keep_secret(part, f"{HIDDEN}@" * part.endswith("@") or HIDDEN)


def masked(text: str) -> str:
    """A text without secrets."""
    for secret in sorted(_REPLACEMENTS, key=len, reverse=True):
        if secret in text:
            text = re.sub(_pattern(secret), lambda _, secret=secret: _REPLACEMENTS[secret], text)  # type: ignore[misc]
    if "://" in text:
        text = _BEFORE_HOST.sub(f"{HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def masked_tree(tree: Any) -> Any:
    """Nested mappings and lists with all texts masked."""
    if isinstance(tree, Mapping):
        return {key: masked_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [masked_tree(value) for value in tree]
    return masked(tree) if isinstance(tree, str) else tree


def holds_credentials(url: str) -> bool:
    """Whether a URL contains credentials."""
    return "://" in url and bool(_BEFORE_HOST.search(url) or _IN_QUERY.search(url))


def _pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= LONG else rf"(?<!\w){escaped}(?!\w)"
