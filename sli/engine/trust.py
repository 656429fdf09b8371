"""Whether this process and its child processes may run Python code that a config names. Limit: all of it, or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sli.errors import ConfigError

NO_CODE = "SLI_NO_CODE"


def is_code_allowed() -> bool:
    """Whether code that a config names may run."""
    return os.environ.get(NO_CODE, "") in ("", "0")


def check_code_allowed(functions: Sequence[str]) -> None:
    """Raise ConfigError if the config names functions and code may not run."""
    if functions and not is_code_allowed():
        raise ConfigError(
            "the config names Python code, but --no-code or SLI_NO_CODE refuses it",
            found=", ".join(functions),
            todo=f"leave out --no-code and {NO_CODE} if you trust the code",
        )


@contextmanager
def no_code(refused: bool) -> Iterator[None]:
    """Refuse code within the block if `refused`, else change nothing."""
    before = os.environ.get(NO_CODE)
    if refused:
        os.environ[NO_CODE] = "1"
    try:
        yield
    finally:
        if refused:
            os.environ.pop(NO_CODE)
            os.environ.update({} if before is None else {NO_CODE: before})
