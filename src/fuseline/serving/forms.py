"""Forms of browsers: their fields as text, their files as bytes."""

from __future__ import annotations

import io
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from fuseline.serving.problem import Problem
from fuseline.serving.served import File

MULTIPART, ENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
FIELDS = 1000  # of one form at most


def parse(body: bytes, content_type: str) -> dict[str, str | File]:
    """The fields and files of a form, the last of each name. Raises Problem for what is none."""
    kind, _, _ = content_type.partition(";")
    if kind.strip().lower() == ENCODED:
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=FIELDS))
        except (ValueError, UnicodeDecodeError) as error:
            raise Problem("bad-request", f"the form cannot be read: {error}") from error
    return _multipart(body, content_type)


def _multipart(body: bytes, content_type: str) -> dict[str, str | File]:
    from python_multipart import MultipartParser
    from python_multipart.exceptions import MultipartParseError

    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not boundary:
        raise Problem("bad-request", "the content type of the form names no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(str(boundary), parts.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise Problem("bad-request", f"the form cannot be read: {error}") from error
    if not parts.ended:
        raise Problem("bad-request", "the form is cut off: its last boundary is missing")
    return parts.found


class _Parts:
    """Collects the parts of a multipart body."""

    def __init__(self) -> None:
        self.found: dict[str, str | File] = {}
        self.ended = False
        self._headers = Message()
        self._name, self._value, self._data = b"", b"", io.BytesIO()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.write(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._over,
        }

    def _begin(self) -> None:
        self._headers, self._data = Message(), io.BytesIO()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1")] = self._value.decode("utf-8", "replace")
        self._name, self._value = b"", b""

    def _end(self) -> None:
        name = self._headers.get_param("name", header="content-disposition")
        if name is None:
            raise Problem("bad-request", "a part of the form has no name")
        if len(self.found) >= FIELDS:
            raise Problem("too-large", f"the form has over {FIELDS:,} fields", limit=FIELDS)
        data, file = self._data.getvalue(), self._headers.get_param("filename", header="content-disposition")
        if file is None:
            self.found[str(name)] = data.decode("utf-8", "replace")
        else:
            self.found[str(name)] = File(data, str(file), self._headers.get_content_type())

    def _over(self) -> None:
        self.ended = True
