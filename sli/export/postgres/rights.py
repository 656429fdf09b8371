"""Whether the database can be reached, and lets its user do what an export does. Limit: it sends nothing."""

from __future__ import annotations

from sli.config.postgres_section import PostgresSink
from sli.export.postgres.connection import connected

LACKING = """
SELECT CASE
  WHEN current_setting('transaction_read_only') = 'on' THEN 'the database is read-only for this user'
  WHEN to_regnamespace(quote_ident(%(schema)s)) IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')
    THEN 'the schema does not exist, and the user may not create it'
  WHEN to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL
    AND NOT has_schema_privilege(to_regnamespace(quote_ident(%(schema)s)), 'USAGE')
    THEN 'the user may not use the schema'
  WHEN to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL
    AND NOT has_schema_privilege(to_regnamespace(quote_ident(%(schema)s)), 'CREATE')
    AND to_regclass(format('%%I.results', %(schema)s)) IS NULL
    THEN 'the user may not create tables in the schema'
  ELSE '' END
"""


def lacking_right(sink: PostgresSink) -> str:
    """The right that the user of a sink lacks; empty if there is none. Raises ExportError."""
    with connected(sink) as connection:
        row = connection.execute(LACKING, {"schema": sink.schema_name}).fetchone()
    return str(row[0]) if row else ""
