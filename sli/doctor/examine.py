"""All checks of the doctor, in the order in which their findings are told.

A check whose reason to fail is told by another one is skipped. Limit: checks run one after another, so a server that
does not answer delays the rest by its time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sli.config.model import Config
from sli.doctor import ids, logs, machine, place, prefect_server, sinks, state, tables
from sli.doctor.finding import Finding, Skipped, problem, problem_of
from sli.doctor.setup import Setup
from sli.engine.storage import message_of
from sli.errors import SliError


@dataclass(frozen=True)
class Check:
    """A check by its name, and the checks without whose success it says nothing."""

    name: str
    findings: Callable[[Setup], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("code", machine.code),
    Check("paths", logs.paths),
    Check("files", logs.files, ("paths",)),
    Check("columns", logs.columns, ("files",)),
    Check("times", logs.times, ("files",)),
    Check("ids", ids.ids, ("files", "times")),
    Check("rights", place.rights),
    Check("clock", place.clock, ("rights",)),
    Check("space", place.space),
    Check("state", state.state),
    Check("tables", tables.whole, ("state",)),
    Check("rows", tables.agree, ("state", "tables")),
    Check("audit", state.audit, ("files", "state", "tables")),
    Check("memory", machine.memory, ("files", "state", "tables", "columns")),
    Check("cluster", machine.cluster),
    Check("exports", sinks.exports),
    Check("prefect", prefect_server.prefect),
)


def examine(config: Config) -> Iterator[Finding]:
    """What each check finds. Nothing that a check raises ends the others.

    >>> from sli.config.load import load_config
    >>> findings = list(examine(load_config(config)))
    >>> findings[1].check, findings[1].level, "problem" in {finding.level for finding in findings}
    ('paths', 'ok', False)
    """
    setup, failed = Setup(config), set[str]()
    for check in CHECKS:
        if lacking := [name for name in check.needs if name in failed]:
            failed.add(check.name)
            yield Finding("skipped", f"needs `{lacking[0]}` to be right", check=check.name)
            continue
        for finding in _findings(check, setup):
            if finding.level == "problem":
                failed.add(check.name)
            yield replace(finding, check=check.name)


def _findings(check: Check, setup: Setup) -> Iterator[Finding]:
    try:
        yield from check.findings(setup)
    except Skipped as why:
        yield Finding("skipped", str(why))
    except SliError as error:
        yield problem_of(error)
    except Exception as error:
        # A mistake in sli: the other checks need not wait until it is mended.
        text = f"the check itself failed: {type(error).__name__}: {message_of(error)}"
        yield problem(text, "report it; the other checks are not affected")
