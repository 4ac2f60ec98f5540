"""Alerts on their way: to SNS (moto's server) and to HTTP servers on this machine, through apprise."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fuseline.channels import Address, Message, Topic, channels, deliver, findings
from fuseline.errors import NotDelivered
from fuseline.records import Finding

# apprise loads a module of Python that is to go; Python 3.13 has it no more, and apprise does without it there

SECRET = "hunter2-sEcret"
MESSAGE = Message(
    project="bookings",
    kind="trip",
    title="bookings: the breaker opened",
    text="day2.0123456789ab was put into quarantine: price < 1 é.",
    link="http://localhost:8080/bookings/batches/day2.0123456789ab.html",
    at="8 Mar 2026, 06:00 UTC",
    batch="day2.0123456789ab",
)


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


def test_addresses_have_spaces_lines_or_commas_between_them():
    text = " json://a/x,mailto://u:p@b.org,\n\tarn:aws:sns:eu-central-1:123456789012:ml-alerts  "
    assert [c.name.rpartition(":")[0] for c in channels(text)] == ["json", "mailto", "sns:ml-alerts"]
    assert channels("") == channels(" \n") == []


def test_a_comma_inside_an_address_belongs_to_it():
    (only,) = channels("mailto://u:p@b.org?to=eva@b.org,tom@b.org")
    assert only.name.startswith("mailto:")


def test_an_address_that_is_named_twice_is_told_once():
    assert len(channels("json://a/x json://a/x")) == 1


def test_no_two_channels_have_one_name():
    topics = [f"arn:aws:sns:{where}:ml-alerts" for where in ("eu-central-1:1", "eu-west-1:1", "eu-central-1:2")]
    names = [c.name for c in channels(" ".join([*topics, "json://a/x", "json://a/y"]))]
    assert len(set(names)) == 5


def test_a_name_stays_the_same_wherever_its_address_stands():
    first, second = channels("json://a/x json://a/y")
    assert [c.name for c in channels("json://a/y json://a/x")] == [second.name, first.name]


# ── addresses that make no sense ────────────────────────────────────────────────────────────────

WRONG = [
    f"nosuch://{SECRET}/x",
    SECRET,
    f"slack://{SECRET}",
    f"mailto://{SECRET}:{SECRET}@",
    "json://",
    f"https://{SECRET}",
    f"arn:aws:sqs:eu-central-1:123456789012:{SECRET}",
    f"arn:{SECRET}",
    "arn:",
    f"json:/{SECRET}",
    f"{SECRET}://x",
    "://",
]


@pytest.mark.parametrize("address", WRONG)
def test_a_wrong_address_is_a_channel_that_fails_and_says_what_to_write(address, capfd):
    good, wrong = channels(f"json://127.0.0.1:9/x {address}")
    with pytest.raises(NotDelivered, match=r"FUSELINE_ALERTS: address 2 is .*(arn:aws:sns:|json://)") as failed:
        wrong.send(MESSAGE)
    assert deliver(wrong, MESSAGE) == str(failed.value)
    said = "".join(traceback.format_exception(failed.value))
    out, err = capfd.readouterr()
    assert SECRET not in wrong.name + repr(wrong) + str(failed.value) + out + err
    assert SECRET not in said.replace("wrong.send(MESSAGE)", "")
    assert findings(f"json://127.0.0.1:9/x {address}") == [
        Finding(True, f"alerts go to {good.name}"),
        Finding(False, f"alerts go to {wrong.name}", str(failed.value)),
    ]


def test_findings_of_addresses_that_make_sense_are_good():
    found = findings(
        "arn:aws:sns:eu-central-1:123456789012:ml-alerts slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    )
    assert [one.ok for one in found] == [True, True]
    assert findings("") == []


# ── any server that takes HTTP ──────────────────────────────────────────────────────────────────


@dataclass
class Receiver:
    """A server that answers by the path: /ok, /bad (500), /silent (never), /drip (a byte now and then, for ever)."""

    port: int
    got: list[Any] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def address(self, path: str, more: str = "") -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.port}/{path}/{SECRET}?+X-Token={SECRET}{more}"

    def channel(self, path: str, more: str = "") -> Address:
        (channel,) = channels(self.address(path, more))
        assert isinstance(channel, Address)
        return channel


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        receiver, body = self.server.receiver, self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.split("/")[1]
        if path == "silent":
            receiver.over.wait(30)
            return
        if path == "drip":
            while not receiver.over.wait(0.05):
                self.wfile.write(b"H")
            return
        receiver.got.append(json.loads(body))
        self.send_response(200 if path == "ok" else 500)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(("127.0.0.1", 0), Handler)
    made = server.receiver = Receiver(server.server_port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_title_cause_time_and_link(receiver):
    assert deliver(receiver.channel("ok"), MESSAGE) == ""
    (got,) = receiver.got
    assert (got["title"], got["message"], got["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
    assert MESSAGE.body.splitlines() == [MESSAGE.text, MESSAGE.at, MESSAGE.link]


@pytest.mark.parametrize(
    ("kind", "sort"), [("trip", "failure"), ("failure", "failure"), ("recovery", "success"), ("overdue", "warning")]
)
def test_a_recovery_is_told_as_good_news(kind, sort, receiver):
    deliver(receiver.channel("ok"), replace(MESSAGE, kind=kind))
    assert receiver.got[0]["type"] == sort


def test_what_html_would_swallow_arrives(receiver):
    deliver(receiver.channel("ok", "&format=html"), MESSAGE)
    assert "&lt;" in receiver.got[0]["message"]
    assert receiver.got[0]["message"].count("<br") == 2


def test_a_server_that_says_no_is_told_with_its_status_and_without_secrets(receiver):
    assert deliver(receiver.channel("bad"), MESSAGE) == (
        "Failed to send JSON POST notification: Internal server error., error=500."
    )


def test_a_server_that_is_not_there_is_told_without_secrets():
    (channel,) = channels(f"json://user:{SECRET}@{SECRET}.invalid:9/{SECRET}")
    assert deliver(channel, MESSAGE) == "A Connection error occurred sending JSON notification to ***."


def test_a_server_that_never_answers_is_given_up_by_apprise(receiver):
    started = time.monotonic()
    assert "onnection error" in deliver(receiver.channel("silent", "&rto=0.3&cto=0.3"), MESSAGE)
    assert time.monotonic() - started < 5


def test_a_server_that_answers_for_ever_is_given_up_after_a_time(receiver):
    started = time.monotonic()
    assert deliver(receiver.channel("drip"), MESSAGE, patience=0.3) == "no answer within 0.3 s"
    assert time.monotonic() - started < 2


HANGING = """
import threading
from fuseline.channels import deliver

class Silent:
    name = "silent:1"

    def send(self, message):
        threading.Event().wait()

print(deliver(Silent(), None, patience=0.1))
"""


def test_a_channel_that_hangs_does_not_keep_the_process_from_ending():
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("no answer within 0.1 s\n", "")


def test_no_repr_and_no_error_has_a_secret(receiver):
    channel = receiver.channel("bad")
    with pytest.raises(NotDelivered) as failed:
        channel.send(MESSAGE)
    said = [repr(channel), channel.name, str(failed.value), "".join(traceback.format_exception(failed.value))]
    assert SECRET not in "".join(said)


# ── SNS ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Post:
    """A topic, and a queue that gets what is published to it."""

    arn: str
    queue: str
    sns: Any
    sqs: Any

    def read(self) -> Any:
        (message,) = self.sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=5)["Messages"]
        return json.loads(message["Body"])


@pytest.fixture
def post(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    import boto3.session

    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", s3)
    session = boto3.session.Session()
    with closing(session.client("sns")) as sns, closing(session.client("sqs")) as sqs:
        arn = sns.create_topic(Name="ml-alerts")["TopicArn"]
        queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        owner = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=owner)
        yield Post(arn, queue, sns, sqs)
        sns.delete_topic(TopicArn=arn)
        sqs.delete_queue(QueueUrl=queue)


def test_a_topic_passes_subject_attributes_and_body_on_to_its_queue(post):
    (topic,) = channels(post.arn)
    assert topic.name.startswith("sns:ml-alerts:")
    assert deliver(topic, MESSAGE) == ""
    got = post.read()
    assert (got["Subject"], got["Message"]) == (MESSAGE.title, MESSAGE.body)
    assert {key: value["Value"] for key, value in got["MessageAttributes"].items()} == {
        "project": "bookings",
        "kind": "trip",
        "batch": "day2.0123456789ab",
        "link": MESSAGE.link,
    }


def test_a_title_that_no_mail_could_carry_is_made_fit(post):
    title = "é" * 60 + "\n" + "x" * 60
    assert deliver(Topic(post.arn), replace(MESSAGE, title=title, batch="")) == ""
    got = post.read()
    assert got["Subject"] == "?" * 60 + " " + "x" * 38
    assert "batch" not in got["MessageAttributes"]


def test_a_topic_that_is_gone_is_told_with_what_to_do(post):
    why = deliver(Topic(post.arn.replace("ml-alerts", "gone")), MESSAGE)
    assert why.endswith("; create the topic, or correct its ARN in FUSELINE_ALERTS")
    assert "NotFound" in why


def test_a_server_that_is_down_is_told_with_what_to_do(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:9")
    why = deliver(Topic("arn:aws:sns:us-east-1:123456789012:ml-alerts"), MESSAGE)
    assert why.endswith("; check that the server runs, the network, and AWS_ENDPOINT_URL_SNS")


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("AWS_PROFILE", "nosuch", "set AWS_PROFILE to a profile of ~/.aws/config, or unset it"),
        ("AWS_ENDPOINT_URL_SNS", "nonsense", "AWS_ENDPOINT_URL_SNS must look like http://localhost:4566"),
    ],
)
def test_settings_that_make_no_sense_are_a_failure_of_the_channel_and_no_more(name, value, fix, monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv(name, value)
    with pytest.raises(NotDelivered, match=fix.replace(".", r"\.")):
        Topic("arn:aws:sns:us-east-1:123456789012:ml-alerts").send(MESSAGE)
