"""The infrastructure: valid, applied to a real server, unchanged by a second run, and gone after destroy.

Terraform waits on purpose after some calls, as AWS takes a while to settle: 55 s for the rules of expiry and 50 s for
one queue after the other. So it is applied once, and that one test looks at everything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

SOURCES = Path(__file__).parents[2] / "deployment" / "terraform"
TERRAFORM = shutil.which("terraform") or ""
PROVIDER = "registry.*/hashicorp/aws"  # in a folder of providers
SERVICES = ("s3", "sns", "sqs", "iam", "kms", "sts")

pytestmark = pytest.mark.skipif(not TERRAFORM, reason="terraform is not installed")


@dataclass(frozen=True)
class Copy:
    """The files in a folder of their own, so that the tree stays clean; `settings` are variables of the process."""

    folder: Path
    settings: dict[str, str]

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command printed. It fails the test if its exit code is another one."""
        done = subprocess.run(
            [TERRAFORM, *arguments],
            cwd=self.folder,
            env=environment(self.settings),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        return said


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Of this machine only what is no setting of AWS or Terraform, which would change what is tested."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
    return {
        **mine,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "TF_CLI_ARGS": "-no-color",
        **settings,
    }


def providers() -> Path | None:
    """A folder of providers on this machine, where one is kept for lack of a registry."""
    roots = (Path("/opt"), Path("/usr/local/share"), Path("/usr/share"), Path.home() / ".terraform.d")
    found = (p for root in roots for depth in ("", "*/", "*/*/") for p in root.glob(depth + PROVIDER))
    return next((folder.parents[2] for folder in found), None)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `terraform init` made; the provider takes seconds to fetch and is the same for every test."""
    folder = tmp_path_factory.mktemp("init")
    shutil.copy(SOURCES / "versions.tf", folder)
    kept = providers()
    more = ([f"-plugin-dir={kept}"], []) if kept else ([],)
    said = ""
    for arguments in more:
        try:
            done = subprocess.run(
                [TERRAFORM, "init", *arguments],
                cwd=folder,
                env=environment({"TF_REGISTRY_CLIENT_TIMEOUT": "5"}),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            said = "init took over 120 s"
            continue
        if done.returncode == 0:
            return folder
        said = done.stderr
    pytest.skip(f"the AWS provider of terraform cannot be had here: {' '.join(said.split())[:300]}")


def copy(plugins: Path, folder: Path, settings: dict[str, str] | None = None) -> Copy:
    for path in SOURCES.glob("*.tf"):
        if path.name != "backend.tf":  # where somebody keeps the state of the real one
            shutil.copy(path, folder)
    for name in (".terraform", ".terraform.lock.hcl"):
        (folder / name).symlink_to(plugins / name)
    return Copy(folder, settings or {})


def test_the_files_have_the_usual_format() -> None:
    Copy(SOURCES, {}).run("fmt", "-check", "-recursive", "-diff")


def test_the_files_are_valid(plugins: Path, tmp_path: Path) -> None:
    copy(plugins, tmp_path).run("validate")


def test_a_wrong_setting_is_refused_with_what_it_must_be(plugins: Path, tmp_path: Path) -> None:
    wrong = {
        "name": "Fuse Line",
        "region": "Frankfurt",
        "projects": '["inbox", "inbox", "A"]',
        "keep_batches_days": "-1",
        "keep_runs_days": "1.5",
        "keep_versions_days": "0",
        "alert_emails": '["me"]',
        "runner_services": "[]",
        "runner_principals": '["me"]',
        "reader_principals": '["me"]',
    }
    here = copy(plugins, tmp_path)
    settings = (f"-var={name}={value}" for name, value in {"bucket": "acme-fuseline", **wrong}.items())
    said = " ".join(here.run("plan", *settings, code=1).split())
    assert [name for name in wrong if f"{name} must" not in said and f"Each of {name} must" not in said] == []
    assert "inbox, labels and metaflow are folders of the store itself" in said
    assert "bucket must be a name of your own" in here.run("plan", code=1)  # the default is for emulators


def test_on_aws_the_bucket_refuses_plain_http_and_a_second_entry_in_one_place(
    s3: str, plugins: Path, tmp_path: Path
) -> None:
    """Without `endpoint` it is AWS to Terraform; the SDK's own variable leads it to the server all the same."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    here = copy(plugins, tmp_path, {"AWS_ENDPOINT_URL": s3, **keys})
    here.run("plan", "-out=plan", "-var=bucket=acme-fuseline")
    planned = json.loads(here.run("show", "-json", "plan"))["planned_values"]["root_module"]["resources"]
    (policy,) = (r["values"]["policy"] for r in planned if r["type"] == "aws_s3_bucket_policy")
    refused = {s["Sid"]: s for s in json.loads(policy)["Statement"]}
    assert {s["Effect"] for s in refused.values()} == {"Deny"}
    assert refused["OnlyTLS"]["Action"] == "s3:*"
    assert refused["OnlyTLS"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert refused["EntriesAreCreatedOnly"]["Condition"]["Null"] == {"s3:if-none-match": "true"}
    assert set(refused["EntriesAreKept"]["Action"]) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}


# ── applied ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Applied:
    """What was made, and clients to look at it; `made` are Terraform's outputs."""

    endpoint: str
    bucket: str
    made: dict[str, str]
    clients: dict[str, Any]


def test_it_is_made_once_and_is_closed_and_delivers_and_goes_again(
    s3: str, emulator: str, plugins: Path, tmp_path: Path
) -> None:
    here = copy(plugins, tmp_path, {"TF_VAR_endpoint": s3, "TF_VAR_force_destroy": "true", "TF_VAR_bucket": "store"})
    here.run("apply", "-auto-approve", "-parallelism=20")
    with ExitStack() as stack:
        import boto3.session

        session = boto3.session.Session()
        clients = {n: stack.enter_context(closing(session.client(n, endpoint_url=s3))) for n in SERVICES}
        made = {k: v["value"] for k, v in json.loads(here.run("output", "-json")).items()}
        applied = Applied(s3, "store", made, clients)
        assert made["store"] == "s3://store"
        the_bucket_is_closed_versioned_and_encrypted(applied)
        what_is_the_truth_never_expires(applied)
        a_file_in_the_inbox_and_an_alert_arrive_in_their_queues(applied)
        a_file_that_is_no_batch_tells_nobody(applied)
        if emulator == "moto":  # LocalStack asks no policy
            each_role_does_its_job_and_no_other(applied)
            what_was_deleted_can_be_brought_back(applied)
        here.run("plan", "-detailed-exitcode", "-parallelism=20")  # exit code 2 would be a change
        here.run("destroy", "-auto-approve", "-parallelism=20", "-refresh=false")
        nothing_is_left(applied)


def the_bucket_is_closed_versioned_and_encrypted(applied: Applied) -> None:
    s3, bucket = applied.clients["s3"], {"Bucket": applied.bucket}
    blocked = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True} and len(blocked) == 4
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    (owner,) = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
    (rule,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    how = rule["ApplyServerSideEncryptionByDefault"]
    assert (how["SSEAlgorithm"], how["KMSMasterKeyID"]) == ("aws:kms", applied.made["key_arn"])
    assert rule["BucketKeyEnabled"]
    key = {"KeyId": applied.made["key_arn"]}
    assert applied.clients["kms"].get_key_rotation_status(**key)["KeyRotationEnabled"]
    for queue in ("alerts_queue_url", "inbox_queue_url"):
        asked = {"QueueUrl": applied.made[queue], "AttributeNames": ["KmsMasterKeyId"]}
        assert applied.clients["sqs"].get_queue_attributes(**asked)["Attributes"]["KmsMasterKeyId"] == key["KeyId"]


def what_is_the_truth_never_expires(applied: Applied) -> None:
    rules = applied.clients["s3"].get_bucket_lifecycle_configuration(Bucket=applied.bucket)["Rules"]
    days = {r["Filter"].get("Prefix", ""): r["Expiration"]["Days"] for r in rules if "Days" in r.get("Expiration", {})}
    assert days == {"bookings/batches/": 365, "metaflow/": 30, ".probe/": 1, ".tmp/": 1}
    whole = [r for r in rules if not r["Filter"].get("Prefix")]
    assert [
        r["NoncurrentVersionExpiration"]["NoncurrentDays"] for r in whole if "NoncurrentVersionExpiration" in r
    ] == [90]
    assert [r["AbortIncompleteMultipartUpload"] for r in whole if "AbortIncompleteMultipartUpload" in r] == [
        {"DaysAfterInitiation": 1}
    ]


def a_file_in_the_inbox_and_an_alert_arrive_in_their_queues(applied: Applied) -> None:
    key = "inbox/bookings/2026-03-08.parquet"
    applied.clients["s3"].put_object(Bucket=applied.bucket, Key=key, Body=b"rows")
    events = [json.loads(body) for body in taken(applied, "inbox_queue_url")]
    records = [record["s3"] for event in events for record in event.get("Records", ())]  # a test event has none
    assert [(r["bucket"]["name"], unquote_plus(r["object"]["key"])) for r in records] == [(applied.bucket, key)]
    applied.clients["sns"].publish(TopicArn=applied.made["topic_arn"], Subject="halt", Message="price_eur in cents")
    (alert,) = (json.loads(body) for body in taken(applied, "alerts_queue_url"))
    assert (alert["TopicArn"], alert["Message"]) == (applied.made["topic_arn"], "price_eur in cents")


def a_file_that_is_no_batch_tells_nobody(applied: Applied) -> None:
    applied.clients["s3"].put_object(Bucket=applied.bucket, Key="labels/bookings/2026-03-08.parquet", Body=b"rows")
    assert taken(applied, "inbox_queue_url") == []


def taken(applied: Applied, queue: str) -> list[str]:
    """The bodies of all messages that wait in a queue; they are deleted."""
    sqs, url, bodies = applied.clients["sqs"], applied.made[queue], []
    asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}  # a topic may take a moment
    while messages := sqs.receive_message(**asked).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


# Who may read (r), write (w) and delete (d) what. What a real run does is in here, and what it must never do.
MAY = {
    "bookings/ledger/00000001.json": {"training": "rw", "inference": "rw", "readers": ""},
    "bookings/versions/v0001/manifest.json": {"training": "rw", "inference": "r", "readers": ""},
    "bookings/batches/b/input.parquet": {"training": "r", "inference": "rw", "readers": ""},
    "bookings/predictions/b.7.parquet": {"training": "r", "inference": "rwd", "readers": "r"},
    "bookings/feedback/b.parquet": {"training": "r", "inference": "rw", "readers": ""},
    "bookings/sources/hotels.parquet": {"training": "rw", "inference": "rw", "readers": ""},
    "bookings/reports/index.html": {"training": "rw", "inference": "rw", "readers": "r"},
    "inbox/bookings/b.parquet": {"training": "", "inference": "rd", "readers": ""},
    "labels/bookings/b.parquet": {"training": "", "inference": "r", "readers": ""},
    "metaflow/TrainingFlow/1/x": {"training": "rw", "inference": "rw", "readers": ""},
    ".probe/1": {"training": "rwd", "inference": "rwd", "readers": ""},
    "other/versions/v0001/manifest.json": {"training": "", "inference": "", "readers": ""},
    "inbox/other/b.parquet": {"training": "", "inference": "", "readers": ""},
}


def each_role_does_its_job_and_no_other(applied: Applied) -> None:
    import boto3.session

    for key in MAY:
        applied.clients["s3"].put_object(Bucket=applied.bucket, Key=key, Body=b"x")
    found: dict[str, dict[str, str]] = {key: {} for key in MAY}
    for role in ("training", "inference", "readers"):
        arn = applied.made[f"{role}_role_arn"]
        given = applied.clients["sts"].assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        session = boto3.session.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        with closing(session.client("s3", endpoint_url=applied.endpoint)) as s3, enforced(applied.endpoint):
            for key in MAY:
                found[key][role] = "".join(what for what, ask in ASK.items() if allowed(s3, ask, applied.bucket, key))
    assert found == MAY


def what_was_deleted_can_be_brought_back(applied: Applied) -> None:
    """Which also leaves no mark of a deletion, of which moto could not free the bucket before it goes."""
    s3 = applied.clients["s3"]
    marks = s3.list_object_versions(Bucket=applied.bucket)["DeleteMarkers"]
    assert {mark["Key"] for mark in marks} == {key for key, may in MAY.items() if "d" in "".join(may.values())}
    for mark in marks:
        s3.delete_object(Bucket=applied.bucket, Key=mark["Key"], VersionId=mark["VersionId"])
        with closing(s3.get_object(Bucket=applied.bucket, Key=mark["Key"])["Body"]) as body:
            assert body.read() in (b"x", b"y")


ASK: dict[str, tuple[str, dict[str, Any]]] = {
    "r": ("get_object", {}),
    "w": ("put_object", {"Body": b"y"}),
    "d": ("delete_object", {}),
}


def allowed(s3: Any, ask: tuple[str, dict[str, Any]], bucket: str, key: str) -> bool:
    call, more = ask
    try:
        answer = getattr(s3, call)(Bucket=bucket, Key=key, **more)
    except ClientError as error:
        code: str = error.response["Error"]["Code"]
        assert code in ("AccessDenied", "NoSuchKey"), error
        return code == "NoSuchKey"
    if "Body" in answer:
        answer["Body"].close()
    return True


@contextmanager
def enforced(endpoint: str) -> Iterator[None]:
    """Let the server ask the policies of roles, as AWS does; else it does what anybody says."""

    def after(requests: str) -> None:
        asked = Request(f"{endpoint}/moto-api/reset-auth", requests.encode(), {"Content-Type": "text/plain"})
        with urlopen(asked) as answer:
            assert answer.status == 200

    after("0")
    try:
        yield
    finally:
        after("inf")


def nothing_is_left(applied: Applied) -> None:
    clients = applied.clients
    assert applied.bucket not in [b["Name"] for b in clients["s3"].list_buckets()["Buckets"]]
    assert not clients["sqs"].list_queues(QueueNamePrefix="fuseline-").get("QueueUrls")
    assert not [t for t in clients["sns"].list_topics()["Topics"] if "fuseline-" in t["TopicArn"]]
    assert not [r for r in clients["iam"].list_roles()["Roles"] if r["RoleName"].startswith("fuseline-")]
