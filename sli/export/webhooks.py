"""Notices sent to webhooks and files: signed if there is a secret, repeated for a while, never longer than `TOTAL`.

Each has a thread of its own, so that one that hangs delays no other, and the run at most `TOTAL`. By urllib, since
nothing here needs more, and a run should not need an HTTP library. Limit: a notice that nobody took until then is lost;
the tables have what it told, and the command warns.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from sli.config.export_sections import Webhook
from sli.config.model import Config
from sli.engine.storage import message_of
from sli.errors import ExportError, SliError
from sli.export.notice import Notice, failure_notice, notice_of
from sli.export.notice_formats import body_of
from sli.masking import masked
from sli.runs.outcome import Outcome

TOTAL = 15.0
"""Seconds within which all webhooks are told, or not."""
ATTEMPT = 5.0
"""Seconds that one attempt may take."""
PAUSE = 0.5
"""Seconds before the second attempt, about; each further pause is twice as long."""
REPEATABLE = (408, 425, 429)
"""Answers after which the same request may succeed, besides those from 500 on."""
SAID = 200
"""How many bytes of an answer are looked at that refuses a notice."""


def send_notices(config: Config, runs: Sequence[Outcome]) -> Sequence[str]:
    """Tell the webhooks of a config what runs did, and return a warning for each that was not told. Raises SliError."""
    notice = notice_of(config, runs)
    return () if notice is None else _tell(config.export.webhooks, notice)


def send_failure(config: Config, error: BaseException) -> Sequence[str]:
    """Tell them that a run failed, and return a warning for each that was not told."""
    return _tell(config.export.webhooks, failure_notice(config, error))


def _tell(webhooks: Sequence[Webhook], notice: Notice) -> list[str]:
    deadline = time.monotonic() + TOTAL
    tellings = [_Telling(webhook, notice, deadline) for webhook in webhooks if {*webhook.events} & {*notice.events}]
    for telling in tellings:
        telling.start()
    return [warning for telling in tellings if (warning := telling.warning())]


class _Telling:
    """One webhook told, by a thread that a process does not wait for when it ends."""

    def __init__(self, webhook: Webhook, notice: Notice, deadline: float) -> None:
        self._webhook, self._notice, self._deadline = webhook, notice, deadline
        self._error: str | None = f"no answer within {TOTAL:g} s"
        self._thread = threading.Thread(target=self._run, name="sli-webhook", daemon=True)
        self.start = self._thread.start

    def _run(self) -> None:
        try:
            _deliver(self._webhook, self._notice, self._deadline)
            self._error = None
        except SliError as error:
            self._error = error.what
        except Exception as error:
            self._error = f"{type(error).__name__}: {message_of(error)}"

    def warning(self) -> str | None:
        """Why it was not told, once it is known or too late; None: it was told."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        # A receiver may repeat what it was sent.
        return None if self._error is None else masked(f"{_name(self._webhook)}: {self._error}; this notice is lost")


def _name(webhook: Webhook) -> str:
    """A webhook in messages: not its path, which may be all that is secret of it."""
    return webhook.file or str(urlsplit(webhook.url or "").hostname)


def _deliver(webhook: Webhook, notice: Notice, deadline: float) -> None:
    """Raises ExportError, OSError."""
    body = body_of(notice, webhook)
    if webhook.file is not None:
        _append(webhook.file, body)
        return
    request = _Request(webhook, body, notice.run or f"failed-{hashlib.sha256(body).hexdigest()[:16]}")
    attempt = 0
    while True:
        try:
            request.send(min(ATTEMPT, max(0.1, deadline - time.monotonic())))
            return
        except _Again as again:
            pause = pause_before(attempt, request.key)
            if time.monotonic() + pause >= deadline:
                raise ExportError(f"{again}, {attempt + 1} times") from again
        time.sleep(pause)
        attempt += 1


def pause_before(attempt: int, key: str) -> float:
    """Seconds before the next attempt, half to one and a half of the usual: equal for the same run, else spread out."""
    share = int(hashlib.sha256(f"{key} {attempt}".encode()).hexdigest()[:8], 16) / 2**32
    return float(PAUSE * 2**attempt * (0.5 + share))


def _append(path: str, body: bytes) -> None:
    """Add a line to a file, in one write, so that lines of several runs never mix. Raises ExportError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, body + b"\n")
        finally:
            os.close(file)
    except OSError as error:
        raise ExportError(f"it cannot be written ({error.strerror})") from error


class _Again(Exception):
    """An attempt failed, and the next one may succeed."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: what is told is for this address, and its signature too."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass(frozen=True)
class _Request:
    webhook: Webhook
    body: bytes
    key: str
    """Equal for each repetition, so that a receiver can drop all but one."""

    def send(self, seconds: float) -> None:
        """Raises _Again, ExportError."""
        headers = {"Content-Type": "application/json", "User-Agent": "sli", "Idempotency-Key": self.key}
        if self.webhook.secret is not None:
            now = str(int(time.time()))
            headers |= {"Sli-Timestamp": now, "Sli-Signature": signature(self.webhook.secret, now, self.body)}
        request = urllib.request.Request(str(self.webhook.url), self.body, headers, method="POST")
        try:
            urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds).close()
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _Again(f"it cannot be reached ({message_of(reason)})") from error

    @staticmethod
    def _refused(error: urllib.error.HTTPError) -> None:
        if error.code in REPEATABLE or error.code >= 500:
            raise _Again(f"it answered {error.code}")
        if 300 <= error.code < 400:
            host = urlsplit(error.headers.get("Location", "")).hostname
            raise ExportError(f"it answered {error.code}, a redirect{f' to {host}' if host else ''}: name that address")
        raise ExportError(f"it answered {error.code}{_said(error)}")


def _said(answer: IO[bytes]) -> str:
    """What a receiver says to a notice that it refuses, as far as that can be shown."""
    try:
        text = " ".join(answer.read(SAID).decode(errors="replace").split())
    except (OSError, http.client.HTTPException):
        return ""
    return f": {text}" if text.isprintable() and text else ""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The header `Sli-Signature`: HMAC-SHA256 of time stamp, a dot, and body.

    >>> signature("key", "1700000000", b"{}")[:20]
    'sha256=9d713ed406bb7'
    """
    return f"sha256={hmac.new(secret.encode(), timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
