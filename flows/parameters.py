"""The parameters of the flows: checked before any work, and explained in the form of Prefect's UI.

Limit: what depends on the config (its SLIs, its time zone) is checked after the flow has read it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from prefect.runtime import flow_run
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from sli.calendar.duration import Duration
from sli.config.tree import VARIABLE
from sli.errors import ConfigError, nearest
from sli.masking import SECRET_NAME, holds_credentials, keep_secret

Length = Annotated[str, AfterValidator(lambda text: Duration.parse(text).text)]
ZONELESS = "A time without a zone is read in the config's time zone."


def _number_fields(schema: dict[str, Any]) -> None:
    """Number the fields for the form, because databases keep no order. `settings`, rarely needed, comes last."""
    names = sorted(schema["properties"], key=lambda name: name == "settings")
    for position, name in enumerate(names):
        schema["properties"][name]["position"] = position


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_number_fields)

    @field_validator("settings")
    @classmethod
    def _no_secret(cls, settings: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse secrets: Prefect stores and shows parameters, so secrets belong into the worker's environment."""
        for setting in settings:
            key, _, value = setting.partition("=")
            if holds_credentials(value) or (SECRET_NAME.search(key) and not VARIABLE.fullmatch(value.strip("\"' "))):
                keep_secret(value)
                raise ValueError(
                    f"'{key}' would be stored by Prefect; write {key}=${{NAME}} and set NAME on the worker"
                )
        return settings

    config: str = Field(title="Config", description="Path of the YAML config, as the worker sees it.")
    settings: tuple[str, ...] = Field(
        default=(),
        title="Settings",
        description="Keys of the config to override, each KEY=VALUE, for example horizon=2d.",
    )


class Recompute(_Closed):
    """Bring the tables up to date with the logs."""

    config: str = Field(
        title="Config",
        description="Path of the YAML config, or of a folder of configs, as the worker sees it. Of a folder one model "
        "runs after another.",
    )
    look_back: Length | None = Field(
        default=None,
        title="Look back",
        description="Only recompute hours of this last stretch, for example 1d; older stale hours wait for a run "
        "without a look-back. Empty: everything that is stale.",
    )
    as_of: datetime | None = Field(
        default=None, title="As of", description=f"Use only what was known then. Empty: now. {ZONELESS}"
    )
    full_listing: bool = Field(
        default=False,
        title="Full listing",
        description="List all files of the logs, as the first run of a day does. Other runs leave out the folders that "
        "are named by dates and too old to matter.",
    )


class Backfill(_Closed):
    """Recompute an interval from the logs, final hours too; the same backfill again continues an interrupted one."""

    start: datetime = Field(title="Start", description=f"First hour. {ZONELESS}")
    end: datetime = Field(title="End", description=f"End of the interval, not included. {ZONELESS}")
    sli: tuple[str, ...] = Field(
        default=(),
        title="SLIs",
        description="Only compute these SLIs, in the hours that lack them. Empty: recompute everything.",
    )
    chunk: Length | None = Field(
        default=None,
        title="Chunk",
        description="Publish in parts of so many days, for example 30d. Empty: parts of about as many bytes each.",
    )
    dry_run: bool = Field(
        default=False,
        title="Dry run",
        description="List the parts, the windows and the reasons as an artifact; write nothing.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Backfill:
        if (self.start.tzinfo is None) == (self.end.tzinfo is None) and self.end <= self.start:
            raise ValueError(f"the end ({self.end.isoformat()}) must come after the start ({self.start.isoformat()})")
        return self


Job = TypeVar("Job", bound=_Closed)


def check_parameters(kind: type[Job], values: object) -> Job:
    """The parameters of a flow as a `Recompute` or `Backfill`. Raises ConfigError that names every wrong one."""
    try:
        return values if isinstance(values, kind) else kind.model_validate(values)
    except ValidationError as error:
        problems = [_problem(kind, details) for details in error.errors()]
        problems[0].others = "\n".join(f"also {problem.where}: {problem.what}" for problem in problems[1:])
        raise problems[0] from error


def _problem(kind: type[BaseModel], details: ErrorDetails) -> ConfigError:
    path, names = [str(part) for part in details["loc"]], list(kind.model_fields)
    where = ".".join(["job", *path])
    if details["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown parameter '{path[-1]}'",
            where=where,
            expected=f"one of {', '.join(names)}",
            todo=nearest(path[-1], names),
        )
    if details["type"] == "missing":
        return ConfigError(f"'{path[-1]}' is missing", where=where)
    if details["type"].startswith("datetime"):
        expected = "ISO 8601, for example 2013-03-01 or 2013-03-01T06:00Z"
        return ConfigError(
            f"{path[-1]} is not a date or time", where=where, expected=expected, found=str(details["input"])
        )
    what = str(details["msg"]).removeprefix("Value error, ")
    return ConfigError(what[:1].lower() + what[1:], where=where, found="" if not path else str(details["input"]))


def provisional_name() -> str:
    """The name of a flow run until its config is read."""
    job = flow_run.get_parameters().get("job")
    config = job.get("config") if isinstance(job, dict) else getattr(job, "config", None)
    return Path(str(config)).stem
