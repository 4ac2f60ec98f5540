"""A store in an S3 bucket."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fuseline import aws
from fuseline.errors import AlreadyExists, NotFound, NotWritten, StoreError, UnknownOutcome
from fuseline.storage import Facts, Listed, check_key, check_prefix, check_readable

NO_KEY = ("NoSuchKey",)  # a 404 without this code comes from something that is no S3 server
NO_HEAD = ("NoSuchKey", "404")  # the answer to a HEAD has no body to name a code


class S3Store:
    """A store in a bucket of AWS S3 or of a server that speaks its language.

    The client is made at the first call from boto3's own variables and profiles (AWS_PROFILE, AWS_DEFAULT_REGION,
    AWS_ENDPOINT_URL_S3 and so on). Servers other than AWS are addressed by path, unless the profile sets
    `s3.addressing_style`.

    `put`, `upload` and `copy` overwrite, so boto3 may repeat them by itself. `create` must not be repeated
    blindly: if the reply to the first attempt is lost, the second is told 412 because of our own object, and a
    write that happened would be reported as one that did not. So `create` has a client without retries, and a
    lost reply is an UnknownOutcome.

    Args:
        bucket: its name; it must exist.
        prefix: put before every key, with a slash; may be empty.
        client: a boto3 client to use for everything instead; its retries must be off (`total_max_attempts` 1).
    """

    def __init__(self, bucket: str, prefix: str = "", client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._clients = {} if client is None else {True: client, False: client}
        self._session: Any = None
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        where = self._where(key)
        # closing(), because the body's own `with` hands out the raw stream, which checks neither length nor checksum
        asking = self._asking(f"{key!r} cannot be read", missing=NO_KEY)
        with asking, closing(self._client().get_object(**where)["Body"]) as body:
            data: bytes = body.read()
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over another one if there is one. Raises NotWritten or UnknownOutcome."""
        where = self._where(key)
        with self._asking(f"{key!r} was not written", write=True):
            self._client().put_object(**where, Body=data)

    def create(self, key: str, data: bytes) -> None:
        """Write the object if the key is free. Raises AlreadyExists, NotWritten or UnknownOutcome."""
        where = self._where(key)
        for wait in (0.1, 0.2, 0.4, 0.8, 0.0):
            with self._asking(f"{key!r} was not written", write=True):
                if self._create_once(where, data):
                    return
            time.sleep(wait)
        raise NotWritten(
            f"{key!r} was not written in {self.url}: the server answered 409 five times, because others write "
            "or delete the same key just now; nothing was written, so run it again"
        )

    def exists(self, key: str) -> bool:
        """Whether there is such an object. Asks by a listing, because a HEAD cannot tell a missing bucket."""
        full = self._where(key)["Key"]
        with self._asking(f"{key!r} cannot be looked up"):
            found = self._client().list_objects_v2(Bucket=self.bucket, Prefix=full, MaxKeys=1)
        return any(item["Key"] == full for item in found.get("Contents", ()))

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        where = self._where(key)
        with self._asking(f"{key!r} was not deleted", write=True):
            self._client().delete_object(**where)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, sorted by key, a thousand for each request."""
        start = self._full("")
        full = start + check_prefix(prefix)
        with self._asking(f"{prefix!r} cannot be listed"):
            pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full)
            for page in pages:
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # consoles make empty objects to show folders
                        yield Listed(item["Key"].removeprefix(start), item["Size"])

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file, in parts where it is large. Raises NotWritten or UnknownOutcome."""
        where = self._where(key)
        check_readable(path)
        with self._asking(f"{key!r} was not written", write=True):
            self._client().upload_file(str(path), **where)

    def delete_if(self, key: str, digest: str) -> bool:
        """Remove the object if its bytes have this SHA-256, and it is still the one that was looked at (its ETag)."""
        where = self._where(key)
        total = hashlib.sha256()
        try:
            with self._asking(f"{key!r} cannot be read", missing=NO_KEY):
                found = self._client().get_object(**where)
                with closing(found["Body"]) as body:
                    for piece in body.iter_chunks(1 << 20):
                        total.update(piece)
        except NotFound:
            return True
        if total.hexdigest() != digest:
            return False
        with self._asking(f"{key!r} was not deleted", write=True):
            return self._delete_same(where, found["ETag"])

    def copy(self, source: str, target: str) -> None:
        """Copy inside the bucket, without the bytes passing through here. Raises NotFound if there is no source."""
        origin, where = self._where(source), self._where(target)
        with self._named(source), self._asking(f"{source!r} was not copied to {target!r}", write=True, missing=NO_HEAD):
            self._client().copy(origin, **where)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A temporary download, removed at exit. Raises NotFound."""
        where = self._where(key)
        with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            with self._named(key), self._asking(f"{key!r} cannot be downloaded", missing=NO_HEAD):
                self._client().download_file(Filename=str(path), **where)
            yield path

    def facts(self) -> Facts:
        """Try what only S3 has, with a key that is removed again, and ask for the rest. Raises StoreError."""
        where = self._where(f".probe/{uuid.uuid4().hex}")
        client, bucket = self._client(), {"Bucket": self.bucket}
        with self._asking("what the server can do cannot be tried"):
            client.put_object(**where, Body=b"probe")
            try:
                keeps = _refuses(412, lambda: client.delete_object(**where, IfMatch='"0"'))
                checks = _refuses(400, lambda: client.put_object(**where, Body=b"probe", ChecksumCRC32="AAAAAA=="))
            finally:
                client.delete_object(**where)
            versioning = _told(lambda: client.get_bucket_versioning(**bucket))
            encryption = _told(lambda: client.get_bucket_encryption(**bucket))
        versioned = None if versioning is None else versioning.get("Status") == "Enabled"
        return Facts(self.bucket, keeps, checks, versioned, None if encryption is None else _algorithm(encryption))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _create_once(self, where: dict[str, str], data: bytes) -> bool:
        """Whether it was written; False if the server wants it tried again. Raises AlreadyExists."""
        from botocore.exceptions import ClientError

        try:
            self._client(retries=False).put_object(**where, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if aws.status(error) == 412:
                raise AlreadyExists(f"s3://{self.bucket}/{where['Key']} already exists; nothing was written") from error
            if error.response["Error"]["Code"] in ("ConditionalRequestConflict", "OperationAborted", "409"):
                return False
            raise
        return True

    def _delete_same(self, where: dict[str, str], etag: str) -> bool:
        """Delete the object of this ETag; a server without conditional deletes (501) deletes what is there."""
        from botocore.exceptions import ClientError

        try:
            self._client().delete_object(**where, IfMatch=etag)
        except ClientError as error:
            if aws.status(error) == 412:
                return False
            if aws.status(error) not in (404, 501):
                raise
            if aws.status(error) == 501:
                self._client().delete_object(**where)
        return True

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._full(check_key(key))}

    def _client(self, retries: bool = True) -> Any:
        with self._lock:
            if retries not in self._clients:
                # A session of our own, because the default one is not safe in threads; and one only, because it
                # takes 50 ms to make its first client and 3 ms for each that follows.
                self._session = self._session or aws.session()
                self._clients[retries] = _make_client(self._session, retries)
            return self._clients[retries]

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Tell a missing bucket from a missing object: transfers ask by HEAD, whose 404 says neither."""
        try:
            yield
        except NotFound:
            self.exists(key)  # raises StoreError where it is the bucket that is missing
            raise

    @contextmanager
    def _asking(self, failed: str, write: bool = False, missing: tuple[str, ...] = ()) -> Iterator[None]:
        """Turn what boto3 raises into the errors of a Store; `missing` are the codes that mean NotFound here."""
        try:
            yield
        except aws.errors() as error:
            cause = _cause(error)
            kind = _kind(cause, write, missing)
            advice = _advice(cause, self.bucket)
            if kind is UnknownOutcome:
                failed = failed.replace("was not", "may or may not have been")
            raise kind(f"{failed} in {self.url}: {cause}; {advice}") from error


def _make_client(session: Any, retries: bool) -> Any:
    client = aws.client("s3", session, retries)
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if "amazonaws.com" in host or "addressing_style" in (client.meta.config.s3 or {}):
        return client
    client.close()
    return aws.client("s3", session, retries, {"s3": {"addressing_style": "path"}})


# ── what a server can do ─────────────────────────────────────────────────────────────────────────


def _refuses(status: int, call: Callable[[], Any]) -> bool:
    """Whether the server answers a request that it must not fulfil with this status; 501: it does not know it."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if aws.status(error) not in (status, 501):
            raise
        return aws.status(error) == status
    return False


def _told(call: Callable[[], Any]) -> dict[str, Any] | None:
    """What the server answers about a bucket; empty for nothing set, None where it may or can not tell."""
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = call()
    except ClientError as error:
        if aws.status(error) in (400, 403, 405, 501):
            return None
        if error.response["Error"]["Code"] == "ServerSideEncryptionConfigurationNotFoundError":
            return {}
        raise
    return answer


def _algorithm(answer: dict[str, Any]) -> str:
    """How a bucket encrypts, from what the server answers; empty if it does not."""
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    return next((rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules), "")


# ── what went wrong ──────────────────────────────────────────────────────────────────────────────


def _cause(error: Exception) -> Exception:
    """What happened: boto3's transfers raise an error of their own about the one that says why."""
    from boto3.exceptions import Boto3Error

    inner = getattr(error, "last_exception", None) or error.__context__
    return inner if isinstance(error, Boto3Error) and isinstance(inner, Exception) else error


def _kind(error: Exception, write: bool, missing: tuple[str, ...]) -> type[StoreError]:
    """Which of our errors it is. A write is only called NotWritten if no server can have done it.

    An upload that is gone is unknown as well: so it looks when a finished upload is finished once more.
    """
    from botocore.exceptions import ClientError, HTTPClientError, SSLError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        if code in missing:
            return NotFound
        # 501: the server does not know this request
        unknown = (aws.status(error) >= 500 and aws.status(error) != 501) or code == "NoSuchUpload"
    else:
        # Sent, and then no reply or one that makes no sense. Every other failure comes before the sending:
        # no credentials, no such host, connection refused.
        unknown = isinstance(error, (HTTPClientError, SSLError, ResponseParserError))
    if not write:
        return StoreError
    return UnknownOutcome if unknown else NotWritten


def _advice(error: Exception, bucket: str) -> str:
    """What to do about it."""
    from botocore.exceptions import ClientError, ParamValidationError

    if isinstance(error, ParamValidationError):
        return "check the name of the bucket in FUSELINE_STORE"
    if not isinstance(error, ClientError):
        return aws.advice(error, "s3")
    return _ADVICE_S3.get(error.response["Error"]["Code"], aws.advice(error, "s3")).format(bucket=bucket)


_ADVICE_S3 = {
    "NoSuchBucket": "make the bucket {bucket!r}, or set FUSELINE_STORE to one that exists",
    "NoSuchKey": "check the name with a listing of the bucket {bucket!r}",
    "404": "check the name with a listing of the bucket {bucket!r}",
    "AccessDenied": "allow s3:GetObject, PutObject, DeleteObject and ListBucket on the bucket {bucket!r}",
    "403": "allow s3:GetObject, PutObject, DeleteObject and ListBucket on the bucket {bucket!r}",
    "PermanentRedirect": "set AWS_DEFAULT_REGION to the region of the bucket {bucket!r}",
}
