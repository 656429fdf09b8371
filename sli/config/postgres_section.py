"""The section `export.postgres`: a database, and the schema in it that the tables are made in.

Limit: whether the database can be reached is seen when something is sent to it.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field

from sli.config.sections import Section
from sli.errors import ConfigError
from sli.masking import keep_secret

SCHEMA_NAME = re.compile(r"[^\x00]{1,63}")
"""What PostgreSQL allows as a name, but for its bytes, which are counted too."""
A_URL = "a URL like postgresql://HOST:5432/DATABASE with user and password, for example ${RESULTS_URL}"


def _postgres_url(url: str) -> str:
    """The URL, whose password no message shows from now on. Raises ConfigError, which does not show the URL either."""
    wrong = ConfigError("this is not the URL of a PostgreSQL database", where="export.postgres.url", expected=A_URL)
    if not url.startswith(("postgresql://", "postgres://")):
        raise wrong
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise wrong from error
    for password in (parts.password or "", *parse_qs(parts.query).get("password", ())):
        keep_secret(password)
        keep_secret(unquote(password))
    return url


def _schema_name(name: str) -> str:
    if not SCHEMA_NAME.fullmatch(name) or len(name.encode()) > 63 or name.startswith("pg_"):
        raise ValueError("this is not the name of a schema: 1 to 63 bytes, and not pg_...")
    return name


class PostgresSink(Section):
    """A PostgreSQL database, and the schema in it that the tables are made in."""

    url: Annotated[str, AfterValidator(_postgres_url)] = Field(description=A_URL)
    schema_name: Annotated[str, AfterValidator(_schema_name)] = Field(
        "sli", alias="schema", description="the name of a schema, for example sli"
    )
