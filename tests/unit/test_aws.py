"""Clients of AWS: what they are made of, and what is said to do where they fail. The failures are real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fuseline import aws
from fuseline.errors import SettingsError

SERVICES = ("s3", "sns", "sqs")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No settings of AWS but credentials and a region."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for service in SERVICES:
        monkeypatch.delenv(f"AWS_ENDPOINT_URL_{service.upper()}", raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the status and the body that the path of the server's address names."""

    server: Any

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(environment: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server of SNS that says what it is told to: `status` and `body`; `asked` counts the requests."""
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.status, made.body = 0, 200, b""
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    environment.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{made.server_port}")
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def failure(retries: bool = False, **more: Any) -> Exception:
    """What a call raises."""
    with closing(
        aws.client("sns", aws.session(), retries, more or {"connect_timeout": 1, "read_timeout": 1})
    ) as client:
        with pytest.raises(aws.errors()) as raised:
            client.publish(TopicArn="arn:aws:sns:eu-central-1:123456789012:x", Message="x")
        return raised.value


def refusal(code: str) -> bytes:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>".encode()


# ── clients ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("service", SERVICES)
def test_a_client_has_the_address_of_its_own_service(service, environment):
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    environment.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", "http://127.0.0.1:2")
    with closing(aws.client(service, aws.session())) as client:
        assert client.meta.endpoint_url == "http://127.0.0.1:2"


def test_what_is_asked_for_takes_the_place_of_what_is_usual(environment):
    with closing(aws.client("sns", aws.session(), more={"region_name": "us-west-2", "read_timeout": 7})) as client:
        assert client.meta.region_name == "us-west-2"
        assert (client.meta.config.read_timeout, client.meta.config.connect_timeout) == (7, 10)


def test_a_call_that_must_not_be_repeated_is_made_once(server):
    server.status = 503
    failure()
    assert server.asked == 1


def test_another_call_is_repeated_when_the_server_is_in_trouble(server):
    server.status = 503
    failure(retries=True)
    assert server.asked == 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ENDPOINT_URL_SNS", "nonsense", r"no client for SNS .*AWS_ENDPOINT_URL_SNS must look like http://"),
        ("AWS_DEFAULT_REGION", "no such region", r"no client for SNS .*AWS_DEFAULT_REGION like eu-central-1"),
        ("AWS_DEFAULT_REGION", None, r"no client for SNS .*set AWS_DEFAULT_REGION, e\.g\. to eu-central-1"),
    ],
)
def test_a_client_that_cannot_be_made_says_which_setting_is_wrong(name, value, said, environment):
    environment.delenv(name, raising=False)
    if value is not None:
        environment.setenv(name, value)
    with pytest.raises(SettingsError, match=said):
        aws.client("sns", aws.session())


# ── advice ──────────────────────────────────────────────────────────────────────────────────────


def test_without_credentials_the_advice_is_to_set_some(environment):
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    assert aws.advice(failure(), "sns").startswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def test_a_profile_that_is_not_there_is_named(environment):
    environment.setenv("AWS_PROFILE", "nosuch")
    with pytest.raises(aws.errors(), match="nosuch") as raised:
        aws.client("sns", aws.session())
    assert aws.advice(raised.value, "sns") == "set AWS_PROFILE to a profile of ~/.aws/config, or unset it"


def test_where_nobody_listens_the_advice_is_to_look_at_server_and_address(environment):
    environment.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:9")
    assert aws.advice(failure(), "sns") == "check that the server runs, the network, and AWS_ENDPOINT_URL_SNS"


def test_a_server_without_tls_behind_https_is_a_matter_of_its_certificate(server, environment):
    environment.setenv("AWS_ENDPOINT_URL_SNS", f"https://127.0.0.1:{server.server_port}")
    assert aws.advice(failure(), "sns").startswith("check the certificate, and AWS_CA_BUNDLE")


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID, or the profile that AWS_PROFILE names"),
        (403, "SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names"),
        (403, "ExpiredToken", "get new credentials: these have expired"),
        (400, "Whatever", "check the request against the server's documentation"),
        (500, "InternalFailure", "the server is in trouble: try again later"),
        (
            501,
            "NotImplemented",
            "the server cannot do this; create-only puts need an S3 server that knows If-None-Match",
        ),
    ],
)
def test_what_a_server_refuses_comes_with_what_to_do(status, code, advice, server):
    server.status, server.body = status, refusal(code)
    error = failure()
    assert (aws.status(error), aws.advice(error, "sns")) == (status, advice)


def test_an_answer_that_makes_no_sense_is_a_matter_of_the_address(server):
    server.body = b"<not xml"
    assert aws.advice(failure(), "sns") == "check that AWS_ENDPOINT_URL_SNS is the address of an SNS server"


def test_a_disk_that_is_full_is_said():
    assert "TMPDIR" in aws.advice(OSError(28, "No space left on device"), "s3")
