"""Clients of AWS, or of servers that speak its language, and what to do when they fail. The only importer of boto3.

Clients are made from boto3's own variables and profiles: AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, and for one
service AWS_ENDPOINT_URL_S3, _SNS, _SQS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuseline.errors import SettingsError


def session() -> Any:
    """A session of our own, since boto3's default one is not safe in threads; its first client takes 50 ms."""
    import boto3.session

    return boto3.session.Session()


def client(service: str, session: Any, retries: bool = True, more: Mapping[str, Any] | None = None) -> Any:
    """A client for one service, e.g. `s3`. Raises SettingsError where boto3's settings make no sense.

    Args:
        retries: whether boto3 may repeat a call by itself; off for calls that must not be repeated blindly.
        more: settings of botocore's `Config` in place of ours.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    tries: dict[str, Any] = {"mode": "standard"} if retries else {"mode": "standard", "total_max_attempts": 1}
    ours: dict[str, Any] = {"retries": tries, "connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 32}
    try:
        return session.client(service, config=Config(**{**ours, **(more or {})}))
    except ValueError as error:
        raise SettingsError(
            f"no client for {service.upper()} can be made: {error}. AWS_ENDPOINT_URL_{service.upper()} must look like "
            "http://localhost:4566, and AWS_DEFAULT_REGION like eu-central-1"
        ) from error
    except BotoCoreError as error:
        raise SettingsError(
            f"no client for {service.upper()} can be made: {error}; {advice(error, service)}"
        ) from error


def errors() -> tuple[type[Exception], ...]:
    """Everything that a call can raise."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    # OSError comes from the local file; RecursionError from botocore where a server redirects every request
    return BotoCoreError, ClientError, Boto3Error, ResponseParserError, OSError, RecursionError


def status(error: Any) -> int:
    """The HTTP status of a ClientError: what a server answered."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def advice(error: Exception, service: str) -> str:
    """What to do about an error of a service."""
    from botocore import exceptions as known

    endpoint = f"AWS_ENDPOINT_URL_{service.upper()}"
    if isinstance(error, known.ClientError):
        return _ADVICE.get(error.response["Error"]["Code"], _by_status(status(error)))
    if isinstance(error, (known.NoCredentialsError, known.PartialCredentialsError, known.CredentialRetrievalError)):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run under a role"
    if isinstance(error, known.ProfileNotFound):
        return "set AWS_PROFILE to a profile of ~/.aws/config, or unset it"
    if isinstance(error, known.NoRegionError):
        return "set AWS_DEFAULT_REGION, e.g. to eu-central-1"
    if isinstance(error, known.SSLError):
        return "check the certificate, and AWS_CA_BUNDLE if the server has one of its own"
    if isinstance(error, (known.ConnectionError, known.HTTPClientError)):
        return f"check that the server runs, the network, and {endpoint}"
    if isinstance(error, OSError):
        return "check the disk of the temporary folder (TMPDIR)"
    return f"check that {endpoint} is the address of an {service.upper()} server"


_ADVICE = {
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile that AWS_PROFILE names",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names",
    "ExpiredToken": "get new credentials: these have expired",
}


def _by_status(status: int) -> str:
    if status == 501:
        return "the server cannot do this; create-only puts need an S3 server that knows If-None-Match"
    if status >= 500:
        return "the server is in trouble: try again later"
    return "check the request against the server's documentation"
