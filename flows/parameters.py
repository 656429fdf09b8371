"""What a person fills in to start a flow: closed, checked before any work, and explained in the form of the UI.

Limit: what depends on the config (its SLIs, its time zone) is checked when the flow has read it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from prefect.runtime import flow_run
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sli.calendar.duration import Duration
from sli.config.load import VARIABLE
from sli.errors import ConfigError, nearest
from sli.masking import SECRET_NAME, holds_credentials, keep_secret


def _length(text: str) -> str:
    return Duration.parse(text).text


Length = Annotated[str, AfterValidator(_length)]
Zoneless = "A time without a zone is read in the config's time zone."


def _placed(schema: dict[str, Any]) -> None:
    """Tell the form the order of the fields: databases keep none. What is rarely needed comes last."""
    names = sorted(schema["properties"], key=lambda name: name == "settings")
    for position, name in enumerate(names):
        schema["properties"][name]["position"] = position


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_placed)

    @field_validator("settings")
    @classmethod
    def _no_secret(cls, settings: tuple[str, ...]) -> tuple[str, ...]:
        """Prefect keeps and shows parameters: what is secret stays in the worker's environment."""
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
        default=(), title="Settings", description="Keys of the config to override, each KEY=VALUE, such as horizon=2d."
    )


class Recompute(_Closed):
    """Bring the tables up to date with the logs."""

    look_back: Length | None = Field(
        default=None,
        title="Look back",
        description="Only recompute stale hours of this last stretch, such as 1d; older ones wait for a run without. "
        "Empty: everything that is stale.",
    )
    as_of: datetime | None = Field(
        default=None, title="As of", description=f"Use only what was known then. Empty: now. {Zoneless}"
    )


class Backfill(_Closed):
    """Recompute an interval from the logs, final hours too; the same backfill again continues an interrupted one."""

    start: datetime = Field(title="Start", description=f"First hour. {Zoneless}")
    end: datetime = Field(title="End", description=f"End of the interval, not included. {Zoneless}")
    sli: tuple[str, ...] = Field(
        default=(), title="SLIs", description="Only compute what these lack in the interval. Empty: recompute all."
    )
    chunk: Length | None = Field(
        default=None, title="Chunk", description="Publish after so many days, such as 30d. Empty: chosen by bytes."
    )
    dry_run: bool = Field(
        default=False, title="Dry run", description="List chunks, windows and reasons as an artifact; write nothing."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Backfill:
        if (self.start.tzinfo is None) == (self.end.tzinfo is None) and self.end <= self.start:
            raise ValueError(f"the end ({self.end.isoformat()}) must come after the start ({self.start.isoformat()})")
        return self


Job = TypeVar("Job", bound=_Closed)


def checked(kind: type[Job], given: Any) -> Job:
    """What a flow was started with. Raises ConfigError naming the first wrong parameter, and the others."""
    try:
        return given if isinstance(given, kind) else kind.model_validate(given)
    except ValidationError as error:
        problems = [_problem(kind, dict(each)) for each in error.errors()]
        problems[0].others = "\n".join(f"also {each.where}: {each.what}" for each in problems[1:])
        raise problems[0] from error


def _problem(kind: type[BaseModel], each: dict[str, Any]) -> ConfigError:
    path, names = [str(part) for part in each["loc"]], list(kind.model_fields)
    where = ".".join(["job", *path])
    if each["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown parameter '{path[-1]}'",
            where=where,
            expected=f"one of {', '.join(names)}",
            todo=nearest(path[-1], names),
        )
    if each["type"] == "missing":
        return ConfigError(f"'{path[-1]}' is missing", where=where)
    if each["type"].startswith("datetime"):
        expected = "ISO 8601, such as 2013-03-01 or 2013-03-01T06:00Z"
        return ConfigError(f"{path[-1]} is no date or time", where=where, expected=expected, found=str(each["input"]))
    what = str(each["msg"]).removeprefix("Value error, ")
    return ConfigError(what[:1].lower() + what[1:], where=where, found="" if not path else str(each["input"]))


def first_name() -> str:
    """What a flow run is called until its config is read."""
    job = flow_run.get_parameters().get("job")
    config = job.get("config") if isinstance(job, dict) else getattr(job, "config", None)
    return Path(str(config)).stem
