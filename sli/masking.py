"""Credentials stand in nothing that people read: whatever leaves the program as text passes `masked`.

Secret is what a URL says before its host or in its signature, what `storage` calls a key, secret, token or password,
and what the environment gave for `${NAME}`. Limit: a secret written elsewhere in a config is not known to be one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

SHORTEST = 4
"""Characters of what is taken for a secret: fewer occur in any text."""
LONG = 8
"""Characters from which on one is looked for within words, too."""
HIDDEN = "***"
_CALLED = r"(?:key|secret|token|passw|pwd|credential|auth|sig\b|signature|sas\b|connection_string)"
SECRET_NAME = re.compile(_CALLED, re.IGNORECASE)
_BEFORE_HOST = re.compile(r"(?<=://)(?:[^\s/:@\"'<>]*:(?!\d+(?:[/\s]|$))[^\s@\"'<>]*|[^\s/:@\"'<>]+)@")
_IN_QUERY = re.compile(rf"([?&;][\w.%-]*{_CALLED}[\w.%-]*=)[^\s&;#\"'<>]+", re.IGNORECASE)
_KNOWN: dict[str, str] = {}
"""What stands for each secret of this process."""


def keep_secret(text: str, instead: str = HIDDEN) -> None:
    """From here on show something else instead of a text."""
    if len(text) < SHORTEST or text == instead:
        return
    for form in (text, quote(text, safe=""), json.dumps(text)[1:-1]):
        _KNOWN.setdefault(form, instead)


def keep_secrets(options: Any, name: str = "") -> None:
    """The same of the texts in options that go by the name of a secret, and of what a URL says before its host."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            keep_secrets(value, f"{name} {key}")
    elif isinstance(options, str):
        if SECRET_NAME.search(name):
            keep_secret(options)
        for found in _BEFORE_HOST.findall(options):
            # Libraries tell it without the scheme by which it is known.
            for part in (found, *found.removesuffix("@").split(":", 1)):
                keep_secret(part, f"{HIDDEN}@" * part.endswith("@") or HIDDEN)


def masked(text: str) -> str:
    """A text as people may read it."""
    for secret in sorted(_KNOWN, key=len, reverse=True):
        if secret in text:
            text = re.sub(_pattern(secret), lambda _, secret=secret: _KNOWN[secret], text)  # type: ignore[misc]
    if "://" in text:
        text = _BEFORE_HOST.sub(f"{HIDDEN}@", text)
    return _IN_QUERY.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def masked_tree(tree: Any) -> Any:
    """Mappings and lists with each of their texts masked."""
    if isinstance(tree, Mapping):
        return {key: masked_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [masked_tree(value) for value in tree]
    return masked(tree) if isinstance(tree, str) else tree


def holds_credentials(url: str) -> bool:
    """Whether a URL tells who asks, not only where."""
    return "://" in url and bool(_BEFORE_HOST.search(url) or _IN_QUERY.search(url))


def _pattern(secret: str) -> str:
    found = re.escape(secret)
    return found if len(secret) >= LONG else rf"(?<!\w){found}(?!\w)"
