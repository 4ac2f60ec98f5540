"""The document of the API holds: Schemathesis asks what it allows, and much that it does not, and compares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
EXAMPLES = 5  # drawn for each operation, beside those at the limits of its schemas
SECONDS = 150.0  # on a machine that is busy


def check(address: str, folder: Path, *options: str) -> str:
    """What Schemathesis says of a server; the same requests each time. Fails where anything does not hold."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{address}/openapi.json", "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--continue-on-failure", "--no-color"),
        *options,
    ]
    variables = {**os.environ, "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(said: str) -> int:
    """How many requests there were."""
    found = re.search(r"(\d+) generated, (\d+) passed", said)
    assert found is not None, said
    return int(found[2])


def test_a_project_is_as_its_document_says(served_project, tmp_path):
    address, key = served_project
    validate(httpx.get(f"{address}/openapi.json", headers={"X-API-Key": key}, trust_env=False).json())
    assert asked(check(address, tmp_path, "--header", f"Authorization: Bearer {key}")) > 300


def test_a_file_is_as_its_document_says(served_file, tmp_path):
    validate(httpx.get(f"{served_file}/openapi.json", trust_env=False).json())
    own = ("--include-path", "/predict", "--include-path", "/v2/models/{name}/infer")  # the others are as a project's
    assert asked(check(served_file, tmp_path, *own)) > 80


@pytest.mark.parametrize("path", ["/predict", "/v2/models/tiny/infer"])
def test_the_example_of_the_document_is_answered(served_project, path):
    address, key = served_project
    with httpx.Client(base_url=address, headers={"X-API-Key": key}, trust_env=False) as client:
        paths = client.get("/openapi.json").json()["paths"]
        operation = paths[path.replace("tiny", "{name}")]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert client.post(path, json=example).status_code == 200
