"""Notices of runs: what they tell, to whom, how often, and that none of them harms a run."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk

from sli.export import webhooks
from sli.export.webhooks import pause_before

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
TOKEN = "T0KENT0KENT0KENT0KEN"


class Receiver:
    """A server that keeps what it is sent and answers as told, the last answer again and again."""

    def __init__(self, answers: list[Answer]) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                answers[min(len(receiver.requests), len(answers)) - 1](self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/{TOKEN}"

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for _, body in self.requests]


def status(code: int, text: str = "", **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


@contextmanager
def receiving(*answers: Answer) -> Iterator[Receiver]:
    receiver = Receiver([*answers] or [status(200)])
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSE", 0.01)


def told(desk: Desk, *hooks: dict[str, object], **changes: Any) -> None:
    """Configure the desk with these webhooks."""
    desk.configure(export={"webhooks": [*hooks]}, **changes)


ALL = ["published", "breached", "set_aside", "held", "late_labels", "failed"]


def test_a_run_tells_what_it_published_and_signs_it_as_the_docs_verify_it(desk: Desk) -> None:
    with receiving() as receiver:
        told(desk, {"url": receiver.url, "secret": "s3cret-key", "events": ["published"]})
        assert desk.run().code == 0
        [(headers, body)] = receiver.requests
        signed = headers["sli-timestamp"].encode() + b"." + body
        expected = "sha256=" + hmac.new(b"s3cret-key", signed, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(headers["sli-signature"], expected)
        assert abs(time.time() - int(headers["sli-timestamp"])) < 60
        document = json.loads(body)
        assert headers["idempotency-key"] == document["run"]
        assert headers["content-type"] == "application/json"
        told_of = {name: document[name] for name in ("version", "events", "model", "as_of", "published", "failed")}
        assert told_of == {
            "version": 1,
            "events": ["published"],
            "model": "m",
            "as_of": "2024-02-01T00:00Z",
            "published": {"results": 1, "hours": 1, "causes": {"first run": 1}},
            "failed": None,
        }
        assert desk.run().has("nothing to do")
        assert len(receiver.requests) == 1, "a run that did nothing has nothing to tell"


def test_a_document_always_has_the_same_fields(desk: Desk) -> None:
    told(desk, {"file": "notices.jsonl", "events": ALL})
    desk.run()
    desk.configure(export={"webhooks": [{"file": "notices.jsonl"}]}, predictions__value="nothing")
    assert desk.run().code == 2
    published, failed = map(json.loads, (desk.root / "notices.jsonl").read_text().splitlines())
    fields = ["version", "events", "text", "model", "time", "run", "as_of"]
    assert list(published) == list(failed) == [*fields, *ALL]
    assert failed["events"] == ["failed"]
    assert "nothing" in failed["failed"]["what"]
    assert failed["run"] is None


def times_on(day: int, n: int = 6) -> Any:
    """A column of times on a day in February that is not final yet."""
    return pa.array([TEN.replace(month=2, day=day)] * n, ZONED)


def test_a_breach_is_told_once(desk: Desk) -> None:
    slis = [{"sli": "accuracy", "objective": ">= 0.999"}]
    told(desk, {"file": "n.jsonl"}, slis=slis)
    n = 2000
    labels = pa.array([0] * n)
    scores = pa.array([0.9] * n)
    times = pa.array([TEN] * n, ZONED)
    desk.predictions(n=n, score=scores, predicted_at=times)
    desk.feedback(n=n, label=labels)
    desk.run()
    desk.predictions("b.parquet", prefix="q", predicted_at=times_on(2))
    desk.run("--as-of", "2024-02-03")
    [line] = (desk.root / "n.jsonl").read_text().splitlines()
    document = json.loads(line)
    assert document["events"] == ["published", "breached"]
    [breach] = document["breached"]
    expected = {"sli": "accuracy", "objective": ">= 0.999", "windows": 1, "value": 0.0, "grain": "hour", "slice": {}}
    assert breach | expected == breach
    assert breach["window_end"] == "2024-01-15T11:00Z"
    assert "accuracy breached: 0, at least 0.999 required; hour 2024-01-15 10:00 all, final" in document["text"]


def test_bad_input_and_labels_that_come_too_late_are_told_when_they_are_new(desk: Desk) -> None:
    told(desk, {"file": "n.jsonl"})
    desk.run()
    desk.feedback("late.parquet", known_at=pa.array([TEN.replace(day=20)] * 6, ZONED))
    (desk.root / "predictions/broken.parquet").write_bytes(b"no Parquet")
    desk.run("--as-of", "2024-02-02")
    desk.predictions("more.parquet", prefix="q")
    desk.run("--as-of", "2024-02-03")
    document = json.loads((desk.root / "n.jsonl").read_text().splitlines()[0])
    assert document["events"] == ["set_aside", "late_labels"], "no result changed"
    assert document["late_labels"] == 6
    [row] = document["set_aside"]
    assert (row["log"], row["file"]) == ("predictions", str(desk.root / "predictions/broken.parquet"))


def test_held_hours_are_told_when_they_are_new(desk: Desk) -> None:
    told(desk, {"file": "n.jsonl", "events": ["held"]})
    desk.run()
    desk.predictions("more.parquet", prefix="q")
    desk.run("--as-of", "2024-02-02")
    desk.predictions("b.parquet", prefix="r", predicted_at=times_on(2))
    desk.run("--as-of", "2024-02-03")
    [line] = (desk.root / "n.jsonl").read_text().splitlines()
    assert json.loads(line)["held"] == [["2024-01-15T10:00Z", "2024-01-15T11:00Z"]]


def test_an_answer_that_may_pass_is_asked_again_with_the_same_key_and_body(desk: Desk) -> None:
    with receiving(status(500), status(429), status(200)) as receiver:
        told(desk, {"url": receiver.url, "events": ["published"]})
        assert desk.run().code == 0
        assert len(receiver.requests) == 3
        assert len({(headers["idempotency-key"], body) for headers, body in receiver.requests}) == 1


def test_a_notice_that_is_refused_is_not_repeated_and_a_warning_says_why(desk: Desk) -> None:
    with receiving(status(404, f"no hook {TOKEN} for s3cret-key")) as receiver:
        told(desk, {"url": receiver.url, "events": ["published"], "secret": "s3cret-key"})
        said = desk.run()
        assert said.code == 3
        assert said.has("export.webhooks: 127.0.0.1: it answered 404: no hook *** for ***; this notice is lost")
        assert len(receiver.requests) == 1
        assert desk.counts() == (6, 6)
        assert TOKEN not in said.err + said.out


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(desk: Desk, code: int) -> None:
    with receiving() as other, receiving(status(code, Location=other.url.replace("127.0.0.1", "localhost"))) as first:
        told(desk, {"url": first.url, "events": ["published"]})
        said = desk.run()
        assert said.has(f"it answered {code}, a redirect to localhost: name that address")
        assert other.requests == []
        assert TOKEN not in said.err


def hang(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.settimeout(5)
    with suppress(OSError):
        handler.connection.recv(1)


def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        for _ in range(50):
            handler.wfile.write(b"H")
            time.sleep(0.1)


@pytest.mark.parametrize("answer", [hang, drip])
def test_a_webhook_that_hangs_holds_neither_the_run_nor_another_webhook(
    desk: Desk, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TOTAL", 1.0)
    with receiving(answer) as slow, receiving() as good:
        told(desk, {"url": slow.url, "events": ["published"]}, {"url": good.url, "events": ["published"]})
        began = time.monotonic()
        said = desk.run()
        assert time.monotonic() - began < 4
        assert said.code == 3
        assert said.has("export.webhooks: 127.0.0.1", "this notice is lost")
        assert len(good.requests) == 1
        assert desk.counts() == (6, 6)


def test_one_that_refuses_the_connection_is_tried_until_the_time_is_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TOTAL", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        told(desk, {"url": f"http://127.0.0.1:{unused.getsockname()[1]}/{TOKEN}", "events": ["published"]})
        said = desk.run()
    assert said.has("export.webhooks: 127.0.0.1", "cannot be reached", "times; this notice is lost")
    assert desk.counts() == (6, 6)


def test_pauses_grow_and_are_equal_for_the_same_run_alone() -> None:
    pauses = [pause_before(attempt, "run") for attempt in range(5)]
    assert pauses == [pause_before(attempt, "run") for attempt in range(5)]
    assert pauses != [pause_before(attempt, "other") for attempt in range(5)]
    assert all(0.5 * 2**n <= pause / webhooks.PAUSE <= 1.5 * 2**n for n, pause in enumerate(pauses))


def test_a_run_that_fails_tells_it_in_masked_words(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "very-secret-key")
    with receiving() as receiver:
        hook = {"url": receiver.url, "secret": "${KEY}"}
        told(desk, hook, feedback__path="gone/very-secret-key")
        assert desk.run().has("gone/${KEY}")
        [document] = receiver.documents
        assert document["events"] == ["failed"]
        assert "very-secret-key" not in json.dumps(document)
        [(headers, _)] = receiver.requests
        assert headers["idempotency-key"].startswith("failed-")


def test_a_mistake_in_sli_is_told_as_a_failure_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from sli.runs import recompute

    monkeypatch.setattr(recompute, "carry_out", lambda *_: 1 / 0)
    told(desk, {"file": "n.jsonl"})
    with pytest.raises(ZeroDivisionError):
        desk.run()
    document = json.loads((desk.root / "n.jsonl").read_text())
    assert document["failed"] == {"what": "ZeroDivisionError: division by zero"}


NAME = 'fraud "eu" <b>&\n🛩'


def test_slack_gets_a_text_in_which_nothing_is_a_command(desk: Desk) -> None:
    with receiving() as receiver:
        told(desk, {"url": receiver.url, "format": "slack", "events": ["published"]}, model=NAME)
        assert desk.run().code == 0
        [message] = receiver.documents
    assert message == {
        "text": '*fraud "eu" &lt;b&gt;&amp;\n🛩*\npublished: 1 result changed, 1 hour recomputed',
    }


def test_pagerduty_gets_one_incident_for_the_same_problem(desk: Desk) -> None:
    with receiving(status(202)) as receiver:
        hook = {"url": receiver.url, "format": "pagerduty", "routing_key": "0123456789abcdef"}
        for wrong in ("one", "two"):
            told(desk, hook, predictions__value=wrong, model=NAME)
            assert desk.run().code == 2
        first, second = receiver.documents
    assert first["dedup_key"] == second["dedup_key"]
    assert first["routing_key"] == "0123456789abcdef"
    assert (first["event_action"], first["payload"]["severity"]) == ("trigger", "critical")
    assert first["payload"]["source"] == NAME
    assert first["payload"]["custom_details"]["events"] == ["failed"]


def test_alertmanager_gets_an_alert_for_each_problem(desk: Desk) -> None:
    with receiving() as receiver:
        told(desk, {"url": receiver.url, "format": "alertmanager"}, model=NAME)
        (desk.root / "predictions/broken.parquet").write_bytes(b"no Parquet")
        desk.run()
        [alerts] = receiver.documents
    [alert] = alerts
    assert alert["labels"] == {"alertname": "sli_set_aside", "model": NAME, "severity": "warning"}
    assert alert["endsAt"] > alert["startsAt"]
    assert "set aside: predictions" in alert["annotations"]["summary"]


def test_a_file_that_cannot_be_written_is_a_warning_and_the_run_is_unharmed(desk: Desk) -> None:
    told(desk, {"file": "gone/n.jsonl", "events": ["published"]})
    said = desk.run()
    assert said.code == 3
    assert said.has("export.webhooks", "gone/n.jsonl: it cannot be written (No such file or directory)")
    assert desk.counts() == (6, 6)


def test_a_backfill_tells_once_what_all_its_parts_did(desk: Desk) -> None:
    told(desk, {"file": "n.jsonl", "events": ["published"]})
    desk.run()
    desk.predictions("b.parquet", prefix="q")
    desk.predictions("c.parquet", prefix="r", predicted_at=pa.array([TEN.replace(day=17)] * 6, ZONED))
    assert desk.backfill("2024-01-15", "2024-01-19", "--chunk", "1d").code == 0
    _, line = (desk.root / "n.jsonl").read_text().splitlines()
    document = json.loads(line)
    assert document["published"]["results"] == 2
    assert document["published"]["hours"] == 2


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ({}, "a webhook has a url or a file"),
        ({"url": "https://a/b", "file": "x"}, "a webhook has a url or a file"),
        ({"url": "file:///etc/passwd"}, "this is not the URL of a webhook"),
        ({"url": "https://user:secret@host/x"}, "this is not the URL of a webhook"),
        ({"url": "https://host/a b"}, "this is not the URL of a webhook"),
        ({"url": "https://a/b", "events": ["breach"]}, "events"),
        ({"url": "https://a/b", "format": "teams"}, "json, slack, pagerduty or alertmanager"),
        ({"url": "https://a/b", "format": "pagerduty"}, "needs a routing_key"),
        ({"file": "x", "secret": "abc"}, "a file gets plain JSON"),
        ({"url": "https://a/b", "secrets": "abc"}, "did you mean 'secret'?"),
    ],
)
def test_a_wrong_webhook_fails_before_any_work(desk: Desk, hook: dict[str, object], message: str) -> None:
    told(desk, hook)
    said = desk.run()
    assert said.code == 2
    assert said.has("export.webhooks", message)
    assert desk.untouched
    assert "user:secret" not in said.err
