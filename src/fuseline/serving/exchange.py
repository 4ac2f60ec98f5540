"""One request and its answer as a line of JSON, and the rows that it asks about as rows of a batch."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fuseline.contract import Contract
from fuseline.projects import Config
from fuseline.serving.served import JSON, Answered, Asked

NULL = msgspec.Raw(b"null")
BLANK = (b':""', b':" ', b':"\\')  # how a blank text may begin in a line, and few others do
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what a line that is none can raise


class Exchange(msgspec.Struct, omit_defaults=True):
    """One request and its answer.

    Attributes:
        at: when it was answered, ISO 8601 in UTC.
        asked: JSON as it came; of another type, which `asked_type` names, its bytes in base64.
        answered: the same of the answer.
    """

    at: str
    request_id: str
    version: str
    asked: msgspec.Raw
    answered: msgspec.Raw
    asked_type: str = JSON
    answered_type: str = JSON
    query: Mapping[str, str] = {}

    @classmethod
    def of(cls, asked: Asked, answered: Answered, version: str, at: str) -> Exchange:
        """What was asked and answered at `at`; nothing of it is parsed."""
        kind, other = asked.media_type or JSON, answered.media_type
        bodies = _raw(asked.body, kind), _raw(answered.body, other)
        return cls(at, asked.request_id, version, *bodies, kind, other, asked.query)


def _raw(body: bytes, media_type: str) -> msgspec.Raw:
    """A body as a part of a line: JSON without line breaks, which stand only between its tokens, else base64."""
    if media_type != JSON:
        return msgspec.Raw(b'"' + base64.b64encode(body) + b'"')
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return msgspec.Raw(body)


class Columns:
    """The columns that a batch brings for one version: those of the model, the id, the time and the keys of joins.

    Args:
        joined: columns that other tables give to a batch, so that it must not bring them.

    Attributes:
        names: the columns.
        blanks: column to the blank texts that are values there; elsewhere a blank text is null.
        id: column that names rows, None where the project has none.
    """

    def __init__(self, contract: Contract, config: Config, joined: frozenset[str] = frozenset()) -> None:
        keys = (source.join for source in list(config.sources.values())[1:])
        names = dict.fromkeys((config.id, config.time, *contract.names, *keys))
        self.names = tuple(name for name in names if name is not None and name not in joined)
        self.blanks = {c.name: {level for level in c.levels or () if not level.strip()} for c in contract.columns}
        self.id = config.id
        fields = {name: f"f{place}" for place, name in enumerate(self.names)}
        self._id, self._time = fields.get(config.id or ""), fields.get(config.time or "")
        self._fields = {field: name for name, field in fields.items()}
        record = msgspec.defstruct("Record", [(f, msgspec.Raw, NULL) for f in self._fields], rename=self._fields)
        self._record = msgspec.json.Decoder(record)
        self._records = msgspec.json.Decoder(record | list[record])  # type: ignore[valid-type]

    def rows(self, exchange: Exchange, request: str) -> list[tuple[str, bytes]]:
        """The rows that were asked about: id as batches compare it, or an empty text, and a line of JSON.

        Values are as they were written, null where there is none or a blank. A row without an id is named by its
        request and its place there, a row without a time gets that of the request.

        Args:
            request: names the request.

        Raises one of `UNREADABLE` for a body that is not JSON.
        """
        return [self._row(record, exchange.at, f"{request}:{place}") for place, record in self._found(exchange)]

    def _found(self, exchange: Exchange) -> list[tuple[int, Any]]:
        """The records of a request with their places: one object, or those of a list. None of another type."""
        if exchange.asked_type != JSON:
            return []
        try:
            found = self._records.decode(exchange.asked)
            return list(enumerate(found if isinstance(found, list) else [found]))
        except msgspec.ValidationError:  # not all of it is objects
            found = msgspec.json.decode(exchange.asked)
        if not isinstance(found, list):
            return []
        parts = enumerate(msgspec.json.decode(exchange.asked, type=list[msgspec.Raw]))
        return [(place, self._record.decode(part)) for place, part in parts if isinstance(found[place], dict)]

    def _row(self, record: Any, at: str, made: str) -> tuple[str, bytes]:
        self._complete(record, at, made)
        line = msgspec.json.encode(record)
        if any(start in line for start in BLANK):
            for field, name in self._fields.items():
                setattr(record, field, self._value(name, getattr(record, field)))
            self._complete(record, at, made)
            line = msgspec.json.encode(record)
        return "" if self._id is None else _same(getattr(record, self._id)), line

    def _complete(self, record: Any, at: str, made: str) -> None:
        for field, value in ((self._id, made), (self._time, at)):
            if field is not None and getattr(record, field) == NULL:
                setattr(record, field, msgspec.Raw(msgspec.json.encode(value)))

    def _value(self, name: str, raw: msgspec.Raw) -> msgspec.Raw:
        if bytes(raw).startswith(b'"'):
            text = msgspec.json.decode(raw)
            if not text.strip() and text not in self.blanks.get(name, ()):
                return NULL
        return raw


def batch(exchanges: Iterable[Exchange], columns: Mapping[str, Columns]) -> tuple[bytes, list[str]]:
    """The rows that were asked about, as JSON lines.

    Where a project has an id the last row of each id is taken, because a batch names a row once. Clients may give two
    requests the same name: the second of a name is told apart as `name~2`, so that no row is taken for another.

    Args:
        columns: of each version that answered.

    Returns:
        The lines, empty without rows, and what is not in them, in words.
    """
    rows: dict[object, bytes] = {}
    requests = Counter[str]()
    asked, left_out = 0, []
    for exchange in exchanges:
        requests[exchange.request_id] += 1
        times = requests[exchange.request_id]
        request = exchange.request_id if times == 1 else f"{exchange.request_id}~{times}"
        try:
            found = columns[exchange.version].rows(exchange, request)
        except UNREADABLE as error:
            left_out.append(f"the rows of request {exchange.request_id}, which cannot be read: {error}")
            continue
        for name, line in found:
            key = name or asked
            asked += 1
            rows.pop(key, None)  # the last one stands where it came
            rows[key] = line
    if asked > len(rows):
        left_out.append(f"{asked - len(rows):,} of {asked:,} rows, whose id comes again after them")
    return b"".join(line + b"\n" for line in rows.values()), left_out


def _same(raw: msgspec.Raw) -> str:
    """An id as batches compare them: 17, 17.0 and "17" are the same."""
    try:
        value = msgspec.json.decode(raw)
    except msgspec.MsgspecError:  # a number beyond all numbers
        return bytes(raw).decode()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
