"""The handler of deployment/lambda with a recorded event of S3 and a real run, on a bucket (moto)."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

from fuseline.bootstrap import line
from fuseline.records import Published

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "data" / "events" / "s3_put.json"


def test_a_recorded_event_publishes_the_file_and_the_same_event_in_a_queue_finds_it_done(
    trained, s3_client, tmp_path, monkeypatch, capsys
):
    shutil.copytree(trained / "projects", tmp_path / "projects")
    monkeypatch.setenv("FUSELINE_STORE", "s3://models/team-a")
    monkeypatch.setenv("FUSELINE_PROJECTS", str(tmp_path / "projects"))
    for name in ("DEFAULT_DATASTORE", "DEFAULT_METADATA", "DATASTORE_SYSROOT_LOCAL"):
        monkeypatch.setenv(f"METAFLOW_{name}", "")  # the handler sets them; this puts them back
    s3_client.create_bucket(Bucket="models")
    here = line("tiny")
    for path in (trained / "store" / "tiny").rglob("*"):
        if path.is_file():
            here.store.upload(str(path.relative_to(trained / "store")), path)
    here.store.upload("inbox/tiny/day 1+2%é.parquet", trained / "day1.parquet")
    spec = importlib.util.spec_from_file_location("handler", ROOT / "deployment" / "lambda" / "handler.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.handler(json.loads(RECORDED.read_text()), None) == {}
    (published,) = [e.event for e in here.ledger.entries() if isinstance(e.event, Published)]
    assert published.rows == 400 and here.batches.waiting() == []
    assert "was published: 400 rows with v0001" in capsys.readouterr().out

    again = {"eventSource": "aws:sqs", "messageId": "message-1", "body": RECORDED.read_text()}
    assert module.handler({"Records": [again]}, None) == {"batchItemFailures": []}
    assert "nothing to do: it is published already" in capsys.readouterr().out
    assert sum(isinstance(e.event, Published) for e in here.ledger.entries()) == 1
