"""Who may ask: keys of clients, of which only digests are kept, compared in constant time.

A key is 32 random bytes, so its SHA-256 cannot be guessed back, and no slow hash is needed at each request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from fuseline.errors import SettingsError

VARIABLE = "FUSELINE_API_KEYS"
PREFIX = "fl_"  # of every key that `new` makes, so that people and scanners for secrets know one when they see it
BYTES = 32  # of randomness in a key
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FIX = "Expected NAME:DIGEST with the SHA-256 of the key in hexadecimal: `fuseline key NAME` makes a key and its entry"


@dataclass(frozen=True)
class Keys:
    """The clients that are let in; none at all where nothing is set.

    Attributes:
        entries: name of a client and SHA-256 of a key of it, in hexadecimal; a name may have several keys.
    """

    entries: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read `FUSELINE_API_KEYS`: entries `NAME:DIGEST` with spaces or commas between them.

        The same entry twice is one. Nothing of an entry that is wrong is repeated, because it may be a key.

        Raises:
            SettingsError: an entry is no name with a digest, or two names have the same key.

        >>> digest = hashlib.sha256(b"secret").hexdigest()
        >>> Keys.parse(f"shop:{digest}").check("secret")
        'shop'
        """
        parts = [part for part in re.split(r"[\s,]+", text) if part]
        if text.strip() and not parts:
            raise SettingsError(f"{VARIABLE} is set and holds no entry. {FIX}; unset it to ask for no key")
        entries = dict.fromkeys(_entry(part, place) for place, part in enumerate(parts, 1))
        named: dict[str, str] = {}
        for name, digest in entries:
            if named.setdefault(digest, name) != name:
                raise SettingsError(
                    f"{VARIABLE}: {named[digest]} and {name} have the same key, so nobody could tell which of them "
                    f"asks. Give each its own: `fuseline key {name}`"
                )
        return cls(tuple(entries))

    def check(self, presented: str | None) -> str | None:
        """The name of the client whose key this is; None for any other text. Takes as long whichever it is."""
        if not presented:
            return None
        try:
            data = presented.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a character, which no header can hold
            return None
        digest, found = hashlib.sha256(data).hexdigest(), None
        for name, known in self.entries:
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def __len__(self) -> int:
        return len(self.entries)


def _entry(part: str, place: int) -> tuple[str, str]:
    name, colon, digest = part.partition(":")
    digest = digest.lower()
    where = f"entry {place} of {VARIABLE}"
    if part.startswith(PREFIX) or (NAME.fullmatch(name) and digest.startswith(PREFIX)):
        raise SettingsError(f"{where} is a key itself: only its digest may be kept there. {FIX}")
    if not colon or not NAME.fullmatch(name) or not DIGEST.fullmatch(digest):
        raise SettingsError(f"{where} is no name with a digest. {FIX}")
    if digest == hashlib.sha256(b"").hexdigest():
        raise SettingsError(f"{where} has the digest of an empty text: no key was hashed. {FIX}")
    return name, digest


def new(name: str) -> tuple[str, str]:
    """A new key of a client, and its entry for `FUSELINE_API_KEYS`; the key is shown once and kept nowhere.

    Raises:
        SettingsError: the name cannot stand in an entry.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot name a client: expected at most 64 letters, digits, '.', '_' and '-', the first a "
            "letter or a digit"
        )
    key = PREFIX + secrets.token_urlsafe(BYTES)
    return key, f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request brings: of `Authorization: Bearer KEY`, else of `X-API-Key: KEY`; None without one."""
    other: bytes | None = None
    for name, value in headers:
        match name.lower():
            case b"authorization":
                scheme, _, key = value.strip().partition(b" ")
                if scheme.lower() == b"bearer" and key.strip():
                    return _text(key)
            case b"x-api-key" if other is None and value.strip():
                other = value
    return None if other is None else _text(other)


def _text(key: bytes) -> str:
    return key.strip().decode("utf-8", "surrogateescape")
