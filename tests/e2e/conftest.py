"""The stack, started once for the tests of this folder and ended before the others begin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stack import Stack, running_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every service of docker-compose.yml as a process, with the deployments made."""
    with running_stack(tmp_path_factory.mktemp("stack")) as found:
        yield found
