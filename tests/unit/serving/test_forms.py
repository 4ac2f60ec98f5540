from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.serving.forms import parse
from fuseline.serving.problem import Problem
from fuseline.serving.served import File

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\'), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.text(max_size=30)), st.dictionaries(NAMES, st.binary(max_size=200), min_size=1))
def test_what_a_client_sends_as_a_form_is_read_back(fields, files):
    fields = {name: value for name, value in fields.items() if name not in files}
    sent = {name: ("a file.png", data, "image/png") for name, data in files.items()}
    request = httpx.Request("POST", "http://test", data=fields, files=sent)
    found = parse(request.read(), request.headers["content-type"])
    assert found == fields | {name: File(data, "a file.png", "image/png") for name, data in files.items()}


def test_fields_without_files_are_read_back():
    request = httpx.Request("POST", "http://test", data={"width": "64", "seed": ""})
    assert parse(request.read(), request.headers["content-type"]) == {"width": "64", "seed": ""}


@given(st.binary(max_size=300))
def test_bytes_that_are_no_form_are_a_problem_and_nothing_worse(body):
    for kind in ("multipart/form-data; boundary=xyz", "application/x-www-form-urlencoded"):
        try:
            parse(body, kind)
        except Problem as problem:
            assert problem.status == 400


def test_a_form_that_is_cut_off_is_refused():
    request = httpx.Request("POST", "http://test", files={"image": ("cat.png", b"x" * 500, "image/png")})
    body = request.read()
    for cut in (len(body) - 5, len(body) // 2, 10):
        with pytest.raises(Problem):
            parse(body[:cut], request.headers["content-type"])


def test_too_many_fields_are_refused():
    request = httpx.Request("POST", "http://test", files={f"f{i}": ("a", b"", "text/plain") for i in range(1001)})
    with pytest.raises(Problem, match="1,000 fields"):
        parse(request.read(), request.headers["content-type"])
