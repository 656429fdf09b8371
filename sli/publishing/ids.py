"""The index of ids in the store: a run opens it to look ids up, and extends it by the files that came.

It is written when ids are looked up for the first time after a run from scratch: a run from scratch that wrote it would
take half as long again, and reads the ids from the logs. Weeks too old to matter to a later run (`planning.reach`) are
dropped in the commit of a run. Limit: if an attempt of a run fails after it wrote the index, the next attempt writes
it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import pyarrow as pa

from sli.config.model import Config
from sli.logs.files import Files, Inputs
from sli.logs.log import Log, feedback_log, predictions_log
from sli.matching.id_index import HASH, IdIndex, index_rows, kept_since, week_interval
from sli.planning.listing import NeedsOlder
from sli.planning.plan import Plan
from sli.planning.reach import Reach
from sli.publishing.parquet_files import Partition
from sli.publishing.transaction import Transaction
from sli.schemas import ID_INDEX


class Ids:
    """The index of ids of both logs, as one run sees it. `inputs` are the files there are now, `seen` those before."""

    def __init__(self, config: Config, transaction: Transaction, plan: Plan, seen: Inputs, inputs: Inputs) -> None:
        published = transaction.published
        self._config, self._transaction, self._scratch = config, transaction, plan.from_scratch or published is None
        self._stored = not self._scratch and published is not None and published.id_hash == HASH
        # An index that this run writes lacks the rows that are gone since the run before.
        self._remembers = self._stored
        self.near = plan.looked_up
        """The tiles whose ids are looked up."""
        reach = Reach.of(config)
        self._since = kept_since(reach, published.as_of if published else plan.as_of)
        self._since_next = kept_since(reach, plan.as_of)
        self._listed_since = inputs.since
        self._logs = [self._divided(files, before) for files, before in zip(inputs.logs, seen.logs, strict=True)]

    def _divided(self, files: Files, before: Files) -> tuple[Files, Files]:
        """The files that the published run saw, whose ids are in the store or will be, and the other usable files."""
        known = files.usable & files.found_in(before, "fingerprint", "problem") & (not self._scratch)
        return files.take(known), files.take(files.usable & ~known)

    @cached_property
    def both(self) -> tuple[IdIndex, IdIndex]:
        """The index of the predictions and that of the feedback, written if the store lacks them.

        Raises UnreadableFiles, and NeedsOlder if older files may have ids that it lacks.
        """
        if not (self._scratch or self._stored):
            if self._since < self._listed_since:
                raise NeedsOlder(self._since)
            known_files = (file for known, _ in self._logs for file in known)
            tables = index_rows(self._config, known_files, self._since)
            self._transaction.write("keys", next(tables, ID_INDEX.empty_table()), replacing="all")
            for rows in tables:
                self._transaction.write("keys", rows)
            self._stored = True
        predictions, feedback = map(self._of, (predictions_log(self._config), feedback_log(self._config)), self._logs)
        return predictions, feedback

    def _of(self, log: Log, files: tuple[Files, Files]) -> IdIndex:
        return IdIndex(
            config=self._config,
            log=log,
            root=self._transaction.store.root,
            stored={} if self._scratch else self._weeks(log.name),
            since=self._since,
            remembers=self._remembers,
            indexed=files[0],
            rest=files[1],
            listed_since=self._listed_since,
        )

    @property
    def hash(self) -> str:
        """The hash of the index that the store has after the run; empty if it has none."""
        return HASH if self._stored else ""

    def new_rows(self) -> Iterator[pa.Table]:
        """What the run adds to the index: the ids of the files that came since the published run."""
        if self._stored:
            new_files = (file for _, new in self._logs for file in new)
            yield from index_rows(self._config, new_files, self._since_next)

    @property
    def forgotten(self) -> list[Partition]:
        """The partitions that the run drops from the index."""
        if not self._stored:
            return []
        logs = {log: self._weeks(log) for log in ("predictions", "feedback")}
        old = ((log, week) for log, weeks in logs.items() for week in weeks)
        return [(log, str(week)) for log, week in old if week_interval(week).end <= self._since_next]

    def _weeks(self, log: str) -> dict[int, dict[str, int]]:
        """The files of the index of a log by their week, with the bytes of each."""
        partitions = self._transaction.files("keys")
        return {int(week): files for (of_log, week), files in partitions.items() if of_log == log}
