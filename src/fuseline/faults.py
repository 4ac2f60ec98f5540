"""Faults on purpose: a store that loses replies, answers late, or kills its own process.

`FaultyStore` wraps any store and follows rules. It is shipped, not only a tool for our own tests, so that
people can see for themselves what a run does when its store fails. Set `FUSELINE_FAULTS` to rules like

    kill-before create */ledger/* content=published
    lose-reply put */versions/* nth=2 times=3; delay get * seconds=0.5

A rule is `<action> <operation> <key pattern> [content=<text>] [nth=<n>] [times=<n>] [seconds=<s>]`. Rules are
separated by `;`, and quotes work as in a shell. The actions:

    fail-before     nothing is done; NotWritten (StoreError for a read)
    full            nothing is done; NotWritten, as for a full disk
    drop            nothing is done; UnknownOutcome
    lose-reply      it is done; UnknownOutcome
    delay           it is done, `seconds` later
    stale-list      keys that were made after the FaultyStore was are left out of the listing
    ignore-create   create overwrites silently, as some S3 servers do
    kill-before     the process kills itself (SIGKILL) and nothing is done
    kill-after      it is done, then the process kills itself
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from fuseline.errors import NotWritten, SettingsError, StoreError, UnknownOutcome
from fuseline.storage import Listed, Store, check_readable

WRITES = ("create", "put", "upload", "copy", "delete")
OPERATIONS = (*WRITES, "get", "list", "exists", "local")
ACTIONS = {  # action -> the operations that it has a meaning for; `*` in a rule stands for these
    "fail-before": OPERATIONS,
    "full": ("create", "put", "upload", "copy"),
    "drop": WRITES,
    "lose-reply": WRITES,
    "delay": OPERATIONS,
    "stale-list": ("list",),
    "ignore-create": ("create",),
    "kill-before": OPERATIONS,
    "kill-after": OPERATIONS,
}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Rule:
    """One fault. Raises SettingsError if it has no meaning.

    Attributes:
        action: what goes wrong; see the module's text.
        on: the operation, a method of Store; `*` is every operation that the action has a meaning for.
        key: a pattern in which `*` also matches `/`; held against the target of a copy, the prefix of a list.
        content: text that the data must contain; then only create, put and upload can match.
        nth: the first match that it applies to, from 1.
        times: to how many matches in a row it applies.
        seconds: for `delay`: how late, in seconds.
    """

    action: str
    on: str
    key: str
    content: str | None = None
    nth: int = 1
    times: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise SettingsError(f"faults: {self.action!r} is no action; accepted are {', '.join(ACTIONS)}")
        if self.on not in ("*", *ACTIONS[self.action]):
            accepted = ", ".join(("*", *ACTIONS[self.action]))
            raise SettingsError(f"faults: {self.on!r} is no operation for {self.action}; accepted are {accepted}")
        for name, value, least in (("nth", self.nth, 1), ("times", self.times, 1), ("seconds", self.seconds, 0)):
            if not least <= value < float("inf"):
                raise SettingsError(f"faults: {name}={value} must be {least} or more, and finite")

    def matches(self, operation: str, key: str, data: bytes | Path | None) -> bool:
        """Whether the rule speaks of this call; `data` is what would be written, if the call brings it."""
        if self.on not in ("*", operation) or operation not in ACTIONS[self.action] or not fnmatchcase(key, self.key):
            return False
        if self.content is None:
            return True
        held = data.read_bytes() if isinstance(data, Path) else data
        return held is not None and self.content.encode() in held


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a setting. Raises SettingsError that names the word and lists what is accepted.

    >>> parse_rules('drop put */ledger/* nth=2')
    (Rule(action='drop', on='put', key='*/ledger/*', content=None, nth=2, times=1, seconds=0.0),)
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lexer.commenters = ""
    rules: list[tuple[str, ...]] = [()]
    try:
        for word in lexer:
            rules[-1:] = [rules[-1], ()] if set(word) == {";"} else [(*rules[-1], word)]
    except ValueError as error:
        raise SettingsError(f"faults: {text!r} cannot be split into words: {error}; close the quotes") from error
    return tuple(_rule(words) for words in rules if words)


def _rule(words: tuple[str, ...]) -> Rule:
    if len(words) < 3:
        raise SettingsError(
            f"faults: {' '.join(words)!r} is no rule; expected <action> <operation> <key pattern> [name=value ...] "
            f"with the actions {', '.join(ACTIONS)}"
        )
    action, on, key, *options = words
    content, nth, times, seconds = None, 1, 1, 0.0
    for option in options:
        name, _, value = option.partition("=")
        try:
            match name:
                case "content":
                    content = value
                case "nth":
                    nth = int(value)
                case "times":
                    times = int(value)
                case "seconds":
                    seconds = float(value)
                case _:
                    raise SettingsError(
                        f"faults: {option!r} is no option; accepted are content=<text>, nth=<n>, times=<n> and "
                        "seconds=<s>"
                    )
        except ValueError as error:
            raise SettingsError(f"faults: {option!r}: expected a number after {name}=") from error
    return Rule(action, on, key, content, nth, times, seconds)


class FaultyStore:
    """A store that does what another one does, but for the faults that the rules ask for.

    A rule is armed from the start, counts the calls that match it (across threads, in this process) and applies
    to those from `nth` on, `times` times. If several rules apply to one call they act in their order.

    Args:
        store: the store that does the work. It is listed once if there is a `stale-list` rule.
        rules: what goes wrong.
    """

    def __init__(self, store: Store, rules: tuple[Rule, ...]) -> None:
        self.url = store.url
        self._store = store
        self._rules = rules
        self._matched = [0] * len(rules)
        self._lock = threading.Lock()
        stale = any(rule.action == "stale-list" for rule in rules)
        self._before = frozenset(item.key for item in store.list("")) if stale else frozenset()

    def get(self, key: str) -> bytes:
        """As Store.get, with faults."""
        return self._run("get", key, None, lambda _: self._store.get(key))

    def put(self, key: str, data: bytes) -> None:
        """As Store.put, with faults."""
        self._run("put", key, data, lambda _: self._store.put(key, data))

    def create(self, key: str, data: bytes) -> None:
        """As Store.create, with faults."""

        def do(actions: frozenset[str]) -> None:
            write = self._store.put if "ignore-create" in actions else self._store.create
            write(key, data)

        self._run("create", key, data, do)

    def exists(self, key: str) -> bool:
        """As Store.exists, with faults."""
        return self._run("exists", key, None, lambda _: self._store.exists(key))

    def delete(self, key: str) -> None:
        """As Store.delete, with faults."""
        self._run("delete", key, None, lambda _: self._store.delete(key))

    def delete_if(self, key: str, digest: str) -> bool:
        """As Store.delete_if, with the faults of `delete`."""
        return self._run("delete", key, None, lambda _: self._store.delete_if(key, digest))

    def list(self, prefix: str) -> Iterator[Listed]:
        """As Store.list, with faults; the whole listing is taken at the call."""

        def do(actions: frozenset[str]) -> tuple[Listed, ...]:
            stale = "stale-list" in actions
            return tuple(item for item in self._store.list(prefix) if not stale or item.key in self._before)

        return iter(self._run("list", prefix, None, do))

    def upload(self, key: str, path: Path) -> None:
        """As Store.upload, with faults."""
        check_readable(path)
        self._run("upload", key, path, lambda _: self._store.upload(key, path))

    def copy(self, source: str, target: str) -> None:
        """As Store.copy, with faults; rules are held against the target."""
        self._run("copy", target, None, lambda _: self._store.copy(source, target))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """As Store.local, with faults before the file is there."""
        with ExitStack() as stack:
            yield self._run("local", key, None, lambda _: stack.enter_context(self._store.local(key)))

    def _run(
        self, operation: str, key: str, data: bytes | Path | None, do: Callable[[frozenset[str]], Answer]
    ) -> Answer:
        rules = self._applying(operation, key, data)
        actions = frozenset(rule.action for rule in rules)
        call = f"{operation} {key!r} in {self.url}: injected fault"
        for rule in rules:
            _before(rule, call, operation in WRITES)
        try:
            answer = do(actions)
        except StoreError as error:
            if "lose-reply" in actions:  # a reply that says no is lost as well
                raise UnknownOutcome(f"{call}: the reply was lost; look up whether it was done") from error
            raise
        if "kill-after" in actions:
            os.kill(os.getpid(), signal.SIGKILL)
        if "lose-reply" in actions:
            raise UnknownOutcome(f"{call}: the reply was lost; look up whether it was done")
        return answer

    def _applying(self, operation: str, key: str, data: bytes | Path | None) -> tuple[Rule, ...]:
        found = []
        for place, rule in enumerate(self._rules):
            if not rule.matches(operation, key, data):
                continue
            with self._lock:
                self._matched[place] += 1
                count = self._matched[place]
            if rule.nth <= count < rule.nth + rule.times:
                found.append(rule)
        return tuple(found)


def _before(rule: Rule, call: str, write: bool) -> None:
    """The part of a rule that comes before the work."""
    match rule.action:
        case "delay":
            time.sleep(rule.seconds)
        case "kill-before":
            os.kill(os.getpid(), signal.SIGKILL)
        case "drop":
            raise UnknownOutcome(f"{call}: the connection was lost; look up whether it was done")
        case "full":
            raise NotWritten(f"{call}: no space left on device; free space")
        case "fail-before":
            raise (NotWritten if write else StoreError)(f"{call}: nothing was done; try again")
