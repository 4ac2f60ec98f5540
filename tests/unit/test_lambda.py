"""The handler of deployment/lambda, without a run: tests/flows/test_lambda.py has one."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fuseline.errors import FuselineError, SettingsError

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "data" / "events"


@pytest.fixture
def handler(s3: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler, over an empty bucket and a project without a champion."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "project.toml").write_text('target = "bought"\n')
    monkeypatch.setenv("FUSELINE_STORE", f"s3://{bucket}")
    monkeypatch.setenv("FUSELINE_PROJECTS", str(tmp_path))
    for name in ("DEFAULT_DATASTORE", "DEFAULT_METADATA", "DATASTORE_SYSROOT_LOCAL"):
        monkeypatch.setenv(f"METAFLOW_{name}", "")  # the handler sets them; this puts them back
    spec = importlib.util.spec_from_file_location("handler", ROOT / "deployment" / "lambda" / "handler.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handler


def landed(bucket: str) -> dict[str, Any]:
    named = {"bucket": {"name": bucket}, "object": {"key": "inbox/tiny/day1.csv"}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}]}


def queued(*bodies: str) -> dict[str, Any]:
    """An event of a queue as Lambda gets it."""
    keys = {"eventSource": "aws:sqs", "awsRegion": "us-east-1", "receiptHandle": "…", "attributes": {}}
    return {"Records": [{**keys, "messageId": f"message-{n}", "body": body} for n, body in enumerate(bodies)]}


def test_of_a_queue_only_the_messages_that_failed_come_again(handler, bucket, capsys):
    other = (RECORDED / "s3_put.json").read_text()  # of another bucket
    test = (RECORDED / "sns_test.json").read_text()
    answer = handler(queued(test, json.dumps(landed(bucket)), other, "hello"), None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-1"}, {"itemIdentifier": "message-3"}]}
    assert "tiny has no champion yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["s3_test", "s3_delete", "s3_put", "eventbridge_put"])
def test_an_event_that_leads_to_nothing_is_done(name, handler):
    assert handler(json.loads((RECORDED / f"{name}.json").read_text()), None) == {}


def test_an_event_that_was_not_dealt_with_is_an_error_so_that_lambda_tries_again(handler, bucket, capsys):
    with pytest.raises(FuselineError, match="the lines above say why"):
        handler(landed(bucket), None)
    assert "tiny has no champion yet. Train one" in capsys.readouterr().out


def test_a_function_without_a_store_on_s3_says_so(handler, bucket, monkeypatch):
    monkeypatch.delenv("FUSELINE_STORE")
    with pytest.raises(SettingsError, match="FUSELINE_STORE is 'store'"):
        handler(landed(bucket), None)


def test_what_metaflow_writes_is_gone_afterwards(handler):
    handler(json.loads((RECORDED / "s3_test.json").read_text()), None)
    assert os.environ["METAFLOW_DEFAULT_DATASTORE"] == "local"
    assert not Path(os.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"]).exists()
