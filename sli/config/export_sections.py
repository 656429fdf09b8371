"""The section `export`: the sinks that get what is published. No tile and no value depends on it.

Limit: whether a sink can be reached is seen when something is sent to it.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from sli.config.postgres_section import PostgresSink
from sli.config.sections import Section
from sli.errors import ConfigError
from sli.masking import keep_secret

NAMES = "a list of names"
A_URL = "https://HOST/PATH, for example from the environment: ${WEBHOOK_URL}"
TOKEN = 16
"""A part of a webhook's path with so many characters may be all that is secret of it."""


class PrometheusSink(Section):
    """What Prometheus gets: of which SLIs, grains and slices, and the file that node_exporter reads."""

    textfile: str | None = Field(
        default=None, description="a file like sli.prom, or the folder of the textfile collector"
    )
    slis: tuple[str, ...] | None = Field(default=None, description=f"{NAMES}, for example [recall]")
    grains: tuple[str, ...] | None = Field(default=None, description=f"{NAMES}, for example [hour, 7d/1d]")
    slices: Annotated[int, Field(ge=0)] = Field(default=20, description="a whole number, 0 or more")
    """How many of the largest slices, besides the whole."""
    series: Annotated[int, Field(ge=1)] = Field(default=10_000, description="a whole number, 1 or more")
    """More series than that are refused."""


def _webhook_url(url: str) -> str:
    """The URL, which no message shows from now on: many of them let anybody post. Raises ConfigError."""
    keep_secret(url)
    for part in (*urlsplit(url).path.split("/"), urlsplit(url).query):
        if len(part) >= TOKEN:
            keep_secret(part)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        # What it is may be a secret, so it is not shown.
        raise ConfigError("this is not the URL of a webhook", where="export.webhooks", expected=A_URL)
    return url


Event = Literal["published", "breached", "set_aside", "held", "late_labels", "failed"]
"""What a run may have to tell."""
PROBLEMS: tuple[Event, ...] = ("breached", "set_aside", "held", "late_labels", "failed")


class Webhook(Section):
    """Who is told what a run did: an address, or a file that gets a line for each run."""

    url: Annotated[str, AfterValidator(_webhook_url)] | None = Field(default=None, description=A_URL)
    file: str | None = Field(default=None, description="a path, for example notices.jsonl")
    format: Literal["json", "slack", "pagerduty", "alertmanager"] = Field(
        default="json", description="json, slack, pagerduty or alertmanager"
    )
    events: tuple[Event, ...] = Field(default=PROBLEMS, description=f"a list of published, {', '.join(PROBLEMS)}")
    secret: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="a text, for example ${SECRET}"
    )
    """Key of the signature."""
    routing_key: str | None = Field(default=None, description="the integration key of a PagerDuty service")

    @model_validator(mode="after")
    def _check(self) -> Webhook:
        for secret in (self.secret, self.routing_key):
            keep_secret(secret or "")
        if (self.url is None) == (self.file is None):
            raise ConfigError("a webhook has a url or a file", where="export.webhooks", todo="write one of both")
        if self.file is not None and (self.secret is not None or self.format != "json"):
            found = "secret" if self.secret is not None else "format"
            raise ConfigError("a file gets plain JSON", where="export.webhooks", found=found, todo=f"remove `{found}`")
        if (self.format == "pagerduty") != (self.routing_key is not None):
            raise ConfigError(
                "the format pagerduty needs a routing_key, and no other format has one",
                where="export.webhooks",
                todo="routing_key: ${PAGERDUTY_KEY}, with `format: pagerduty`",
            )
        return self


class Export(Section):
    """The sinks, each with what it needs."""

    postgres: PostgresSink | None = Field(default=None, description="{url: postgresql://..., schema: sli}")
    prometheus: PrometheusSink = Field(default=PrometheusSink(), description="{textfile: ..., grains: [day]}")
    webhooks: tuple[Webhook, ...] = Field(
        default=(), description="a list, for example [{url: ..., events: [breached]}]"
    )
