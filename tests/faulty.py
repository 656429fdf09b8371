"""Storage that fails: whatever a run asks of its logs and tables goes through a script, which decides what happens.

    with faulty(On("write tiles", fails()), On("list feedback", stale(before))):
        scenario.run(as_of)

A call has a name: its method and its table, log or file, for example `open results` or `get 0.parquet`. See the methods
of `Tables`, `Table`, `LogStorage` and `RemoteFile`. Of local files only the listing goes through here; a log at a
`file://` URL is read like one elsewhere.
"""

from __future__ import annotations

import fnmatch
import functools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sli.errors import StoreError
from sli.logs import storage
from sli.logs.storage import LogStorage, RemoteFile
from sli.publishing import delta_tables
from sli.publishing.delta_tables import Table, Tables

WRITES = ("create", "write", "restore", "compact")
AWAY = StoreError("the store cannot be reached", found="connection reset", passes=True)


@dataclass
class Call:
    """A call of the storage: `proceed` makes it, at most once by each action."""

    name: str
    """For example `write tiles`."""
    proceed: Callable[[], Any]
    path: Path
    """Where the table is, if its store is a folder."""

    @property
    def writes(self) -> bool:
        return self.name.startswith(WRITES)


Action = Callable[[Call], Any]
"""What happens at a call, and what it returns."""


def fails(error: BaseException = AWAY) -> Action:
    """Nothing is done."""

    def action(_: Call) -> Any:
        raise error

    return action


def loses_its_answer(error: BaseException = AWAY) -> Action:
    """All is done, yet the caller is told of an error."""

    def action(call: Call) -> Any:
        call.proceed()
        raise error

    return action


def torn(error: BaseException = AWAY) -> Action:
    """Half of a write is done, without its commit: the folder of a table to create, the files of rows to write."""

    def action(call: Call) -> Any:
        log = call.path / "_delta_log"
        before = set(log.glob("*"))
        call.proceed()
        for file in set(log.glob("*")) - before:
            file.unlink()
        if not before:
            shutil.rmtree(log)
        raise error

    return action


def halved(call: Call) -> Any:
    """Half of the answer comes."""
    answer = call.proceed()
    return answer[: len(answer) // 2]


def late(seconds: float) -> Action:
    """All is done, after a while."""

    def action(call: Call) -> Any:
        time.sleep(seconds)
        return call.proceed()

    return action


def first(do: Callable[[], Any]) -> Action:
    """Something else happens before the call, such as a whole run of another."""

    def action(call: Call) -> Any:
        do()
        return call.proceed()

    return action


def after(do: Callable[[], Any]) -> Action:
    """Something else happens between the call and its answer."""

    def action(call: Call) -> Any:
        answer = call.proceed()
        do()
        return answer

    return action


def stale(answer: Any) -> Action:
    """Nothing is asked: the answer is one of earlier."""
    return lambda _: answer


@dataclass(frozen=True)
class On:
    """At the nth call whose name matches a pattern such as `write *` (0: at every one, if any), this happens."""

    pattern: str
    action: Action
    nth: int = 1


@dataclass
class Script:
    """What happens at which call, and what was called."""

    rules: tuple[On, ...]
    calls: list[Call] = field(default_factory=list)
    met: dict[On, int] = field(default_factory=dict)

    def run(self, call: Call) -> Any:
        self.calls.append(call)
        for rule in self.rules:
            if fnmatch.fnmatch(call.name, rule.pattern):
                count = self.met[rule] = self.met.get(rule, 0) + 1
                if rule.nth in (0, count):
                    return rule.action(call)
        return call.proceed()

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]


class Faulty:
    """The storage of logs, tables, or one file or table, each call of which goes through a script."""

    def __init__(self, wrapped: Tables | Table | LogStorage | RemoteFile, script: Script) -> None:
        self._wrapped, self._script = wrapped, script

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._wrapped, method)
        if not callable(value) or method == "uri":
            return value

        @functools.wraps(value)
        def called(*given: Any, **named: Any) -> Any:
            def proceed() -> Any:
                answer = value(*given, **named)
                return Faulty(answer, self._script) if isinstance(answer, Table | RemoteFile) else answer

            place = self._place(*given)
            if method == "remote":
                return proceed()
            return self._script.run(Call(f"{method} {place.rsplit('/', 1)[-1]}", proceed, Path(place)))

        return called

    def _place(self, *given: Any) -> str:
        """The table, log or file that a call is about."""
        if isinstance(self._wrapped, Tables):
            return self._wrapped.uri(given[0])
        if isinstance(self._wrapped, LogStorage):
            return str(given[0])
        return self._wrapped.uri if isinstance(self._wrapped, Table) else self._wrapped.path


@contextmanager
def faulty(*rules: On) -> Iterator[Script]:
    """A context in which all logs and tables follow a script. Each of its rules for an nth call must come to happen."""
    script = Script(rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta_tables, "Tables", lambda *given: Faulty(Tables(*given), script))
        patch.setattr(storage, "LogStorage", lambda *given: Faulty(LogStorage(*given), script))
        yield script
    for rule in rules:
        assert script.met.get(rule, 0) >= rule.nth, f"no call {rule.nth} of '{rule.pattern}' in {script.names}"
