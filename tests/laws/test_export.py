"""After any history of files, configs and runs a sink shows what is published, also where it missed some of them."""

from __future__ import annotations

from databases import Database
from histories import SETTINGS, Histories, play
from hypothesis import settings

from sli.config.postgres_section import PostgresSink
from sli.export.postgres.send import send_all, send_missing


class Exported(Histories):
    """Histories in which the sink is away while every second run publishes."""

    database: Database

    def remember(self, as_of: int) -> None:
        super().remember(as_of)
        self.runs = getattr(self, "runs", 0) + 1
        if self.runs % 2:
            sink = PostgresSink(url=self.database.url, schema="sli")
            send_missing(self.scenario.config, sink)
            self.database.check(self.scenario.config)
            again = send_all(self.scenario.config, sink)
            assert (again.written, again.removed) == (0, 0)


# `make fuzz` plays fresh ones.
def test_after_any_history_the_table_in_postgres_equals_what_is_read(database: Database) -> None:
    Exported.database = database
    play(settings(SETTINGS, max_examples=5, stateful_step_count=8), machine=Exported)
