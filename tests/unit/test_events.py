from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.batches import Batches
from fuseline.errors import DataError
from fuseline.events import Arrival, Landed, arrival, is_batch, landed
from fuseline.storage import MemoryStore

RECORDED = Path(__file__).parents[1] / "data" / "events"  # of moto's server
OBJECT = Landed("models", "team-a/inbox/tiny/day 1+2%é.parquet")
ENDINGS = [".parquet", ".CSV", ".jsonl", ".txt", ""]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)  # UTF-8, as S3's keys are


def notification(bucket: str, key: str, event: str = "ObjectCreated:Put") -> dict[str, object]:
    return {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}


@pytest.mark.parametrize("name", ["s3_put", "sns_put", "eventbridge_put"])
def test_a_recorded_message_names_the_object_as_it_was_put(name):
    assert landed((RECORDED / f"{name}.json").read_text()) == (OBJECT,)


@pytest.mark.parametrize("name", ["s3_test", "sns_test", "s3_delete", "eventbridge_delete"])
def test_a_recorded_message_of_a_test_or_a_deletion_names_nothing(name):
    assert landed((RECORDED / f"{name}.json").read_text()) == ()


def test_a_message_with_several_records_names_those_that_were_created():
    records = [
        notification("b", "inbox/p/1.csv"),
        notification("b", "inbox/p/2.csv", "ObjectRemoved:Delete"),
        notification("b", "inbox%2Fp%2F3.csv", "s3:ObjectCreated:CompleteMultipartUpload"),  # as MinIO says it
    ]
    assert landed(json.dumps({"Records": records})) == (Landed("b", "inbox/p/1.csv"), Landed("b", "inbox/p/3.csv"))


@given(NAMES, NAMES, st.sampled_from(["", "/"]))
def test_any_key_comes_out_of_any_form_as_it_was(bucket, key, safe):
    """Some servers encode the slash and some do not."""
    plain = json.dumps({"Records": [notification(bucket, quote_plus(key, safe=safe))]})
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    bridged = json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": detail})
    for body in (plain, bridged):
        envelope = json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": body})
        assert landed(body) == landed(envelope) == (Landed(bucket, key),)


WORDS = ["Records", "eventName", "s3", "bucket", "name", "object", "key", "detail", "source", "TopicArn", "Message"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("%ff"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(WORDS), inner),
)


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from(WORDS), JSON).map(json.dumps))
def test_whatever_a_message_holds_it_is_read_or_refused(body):
    try:
        found = landed(body)
    except DataError as error:
        assert str(error).startswith("a message of S3 was expected")
    else:
        assert all(isinstance(one, Landed) for one in found)


REFUSED = {
    "": "in JSON; found ''",
    "day1.csv": "in JSON; found 'day1.csv'",
    "[" * 100_000: "in JSON; found '[[[",
    "[1]": "a JSON object; found '[1]'",
    '{"Records": 3}': "with `Records` or of EventBridge; found '{\"Records\": 3}'",
    '{"Records": [{"eventName": 3}]}': "with a text in `eventName`; found '{\"eventName\": 3}'",
    '{"Records": [3]}': "with a text in `eventName`; found '3'",
    json.dumps({"Records": [notification("", "k")]}): "with a text in `s3.bucket.name`",
    json.dumps({"Records": [notification("b", "%ff.csv")]}): "with a key in UTF-8; found '%ff.csv'",
    '{"source": "aws.s3", "detail-type": "Object Created", "detail": {}}': "with a text in `detail.bucket.name`",
    '{"TopicArn": "arn", "Message": "hello"}': "in JSON; found 'hello'",
}


@pytest.mark.parametrize("body", REFUSED)
def test_a_message_that_is_none_of_s3_is_refused_and_shown(body):
    with pytest.raises(DataError) as said:
        landed(body)
    assert REFUSED[body] in str(said.value)
    assert len(str(said.value)) < 400


@pytest.mark.parametrize(
    ("store", "key", "found"),
    [
        ("s3://models", "inbox/bank/8 March.csv", Arrival("bank", "8 March.csv")),
        ("s3://models/", "inbox/bank/8.JSONL", Arrival("bank", "8.JSONL")),
        ("s3://models/team/a", "team/a/inbox/bank/8.parquet", Arrival("bank", "8.parquet")),
        ("s3://models/team", "inbox/bank/8.csv", None),
        ("s3://models", "team/inbox/bank/8.csv", None),
        ("s3://other", "inbox/bank/8.csv", None),
        ("s3://model", "s/inbox/bank/8.csv", None),
        ("s3://models", "inbox/8.csv", None),
        ("s3://models", "inbox//8.csv", None),
        ("s3://models", "inbox/bank/", None),
        ("s3://models", "inbox/bank/old/8.csv", None),
        ("s3://models", "labels/bank/8.csv", None),
        ("file:///models", "inbox/bank/8.csv", None),
    ],
)
def test_a_batch_is_a_file_right_in_an_inbox_of_the_store(store, key, found):
    assert arrival(Landed("models", key), store) == found


@given(
    st.text(max_size=5), st.text(min_size=1, max_size=5), st.sampled_from([".parquet", ".CSV", ".jsonl", ".txt", ""])
)
def test_a_file_is_a_batch_exactly_where_the_inbox_takes_it_for_one(start, stem, ending):
    file, store = start + stem + ending, MemoryStore()
    try:
        store.put(f"inbox/tiny/{file}", b"")
    except ValueError:  # no key of a store
        return
    assert is_batch(file) == (Batches(store, "tiny").waiting() == [file])
