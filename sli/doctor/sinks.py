"""The sinks of `export`: can they be reached, and written? Nothing is sent to any of them.

Limit: whether a webhook is answered shows only when it is told something.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from sli.doctor.finding import Finding, Skipped, ok, problem, problem_of, warning
from sli.doctor.setup import Setup
from sli.errors import SliError
from sli.export.extras import needs_extra
from sli.export.textfile import textfile_of

HERE = ("localhost", "127.0.0.1", "::1")


def exports(setup: Setup) -> Iterator[Finding]:
    """Whether each sink can take what is published."""
    export = setup.config.export
    if export.postgres is None and export.prometheus.textfile is None and not export.webhooks:
        raise Skipped("the config names no sink")
    for check in (_postgres, _textfile, _webhooks):
        try:
            yield from check(setup)
        except SliError as error:
            yield problem_of(error)


def _postgres(setup: Setup) -> Iterator[Finding]:
    sink = setup.config.export.postgres
    if sink is None:
        return
    with needs_extra("postgres"):
        from sli.export.postgres.connection import RIGHTS, place
        from sli.export.postgres.rights import lacking_right
    if lacks := lacking_right(sink):
        yield problem(f"PostgreSQL at {place(sink)}: {lacks}", RIGHTS)
    else:
        yield ok(f"PostgreSQL at {place(sink)} answers, and its user may write")


def _textfile(setup: Setup) -> Iterator[Finding]:
    path = setup.config.export.prometheus.textfile
    if path is not None:
        file = textfile_of(path, setup.config.model)
        yield from _folder_of("export.prometheus.textfile", file)


def _webhooks(setup: Setup) -> Iterator[Finding]:
    for place, webhook in enumerate(setup.config.export.webhooks):
        where = f"export.webhooks[{place}]"
        if webhook.file is not None:
            yield from _folder_of(where, webhook.file)
            continue
        address = urlsplit(webhook.url or "")
        # Of the URL no more than its host is shown, since its path may be a secret.
        if address.scheme == "http" and address.hostname not in HERE:
            yield warning(
                f"{where}: {address.hostname} is told without encryption", "write its URL with https, if it has that"
            )
        else:
            yield ok(f"{where}: the URL at {address.hostname} is one; nothing is sent to it now")


def _folder_of(where: str, file: str) -> Iterator[Finding]:
    folder = os.path.dirname(file) or "."
    if not os.path.isdir(folder):
        yield problem(f"{where}: the folder {folder} does not exist", "create it")
    elif not os.access(folder, os.W_OK) or (os.path.exists(file) and not os.access(file, os.W_OK)):
        yield problem(f"{where}: {file} cannot be written", f"let the user that runs sli write in {folder}")
    else:
        yield ok(f"{where}: {file} can be written")
