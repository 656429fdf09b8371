"""After a run: each sink of the config gets what was published since it last did.

A sink that fails is a warning and nothing else: the tables are published, no other sink waits for it, and the next run
sends what it lacks. Limit: `sli run`, `sli backfill` and the flows export; the functions `sli.run` and `sli.backfill`
do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sli.config.model import Config
from sli.engine.storage import message_of
from sli.errors import SliError
from sli.export.extras import needs_extra
from sli.masking import masked
from sli.runs.outcome import Outcome

Send = Callable[[Config, Sequence[Outcome]], Sequence[str]]
"""Sends what a sink lacks; `runs` are those just made, none if there was nothing to do. Returns warnings."""


def export_published(config: Config, runs: Sequence[Outcome] = ()) -> tuple[str, ...]:
    """Send to each sink what it lacks, and return a warning for each that failed. Raises nothing of a sink."""
    warnings: list[str] = []
    for name, send in sinks_of(config).items():
        try:
            warnings += (f"export.{name}: {warning}" for warning in send(config, runs))
        except Exception as error:
            # Whatever it is, the results are published, and a run that fails now would say otherwise.
            warnings.append(f"export.{name}: {_cause(error)}; the results are published, the next run sends them")
    return tuple(map(masked, warnings))


def export_failure(config: Config, error: BaseException) -> tuple[str, ...]:
    """Tell those who want to know that a run failed, and return a warning for each who was not told. Raises nothing."""
    if not config.export.webhooks:
        return ()
    from sli.export.webhooks import send_failure

    try:
        return tuple(f"export.webhooks: {warning}" for warning in send_failure(config, error))
    except Exception as failure:
        # The error of the run matters, not this one.
        return (masked(f"export.webhooks: {_cause(failure)}"),)


def sinks_of(config: Config) -> dict[str, Send]:
    """The function that sends to each sink of a config, by its key in `export`."""
    # Not at the top: each sink has libraries of its own.
    sinks: dict[str, Send] = {}
    if config.export.postgres is not None:
        sinks["postgres"] = _postgres
    if config.export.prometheus.textfile is not None:
        from sli.export.prometheus import send_textfile

        sinks["prometheus"] = send_textfile
    if config.export.webhooks:
        from sli.export.webhooks import send_notices

        sinks["webhooks"] = send_notices
    return sinks


def _postgres(config: Config, runs: Sequence[Outcome]) -> Sequence[str]:  # noqa: ARG001 - it knows what it lacks
    with needs_extra("postgres"):
        from sli.export.postgres.send import send_missing
    assert config.export.postgres is not None
    return send_missing(config, config.export.postgres).warnings


def _cause(error: Exception) -> str:
    """An error in one line."""
    if not isinstance(error, SliError):
        return f"{type(error).__name__}: {message_of(error)}"
    parts = (error.what, f"({error.found})" if error.found else "")
    return " ".join([*filter(None, parts)]) + (f"; {error.todo}" if error.todo else "")
