"""Every error that Fuseline raises on purpose.

FuselineError                    something a person must read; the message says what to do
├── SettingsError                a setting, an option or project.toml is wrong
├── ProjectError                 a project folder, train.py or predict.py is wrong
│   └── ModelFault               the project's own code failed while it trained or scored
├── DataError                    a file of rows cannot be used
│   ├── Unreadable               it cannot be parsed at all (truncated, wrong encoding, empty)
│   └── ContractBroken           it can be parsed, but not brought to the columns of the contract
├── StoreError                   the store did not do what was asked
│   ├── NotFound                 there is no such key
│   ├── AlreadyExists            a create-only put found the key taken: certainly not written
│   ├── NotWritten               the put failed: certainly not written
│   ├── UnknownOutcome           the put may or may not have been written: look it up, never repeat blindly
│   └── UnsafeStore              the store cannot keep the promises (it ignores create-only puts)
├── LedgerError                  the ledger cannot be read (broken entry, newer format)
├── ArtifactError                a stored artifact is not what was stored (digest, versions)
├── QueueError                   the queue that tells of new files did not do what was asked
├── NotDelivered                 an alert did not reach a channel
├── Refused                      a precondition did not hold: nothing was changed
└── HeldBack                     the breaker or the gate held something back (exit code 3)
"""

from __future__ import annotations


class FuselineError(Exception):
    """Root of all errors; its text is written for the person who reads it."""

    exit_code = 1


class SettingsError(FuselineError):
    """A setting, an option or a key of project.toml is wrong."""

    exit_code = 2


class ProjectError(FuselineError):
    """A project folder, its train.py or its predict.py is wrong."""


class ModelFault(ProjectError):
    """The project's own code failed while it trained or scored."""


class DataError(FuselineError):
    """A file of rows cannot be used."""


class Unreadable(DataError):
    """A file cannot be parsed at all: truncated, empty, another encoding."""


class ContractBroken(DataError):
    """A table cannot be brought to the columns that the version was trained on."""


class StoreError(FuselineError):
    """The store did not do what was asked."""


class NotFound(StoreError):
    """There is no such key in the store."""


class AlreadyExists(StoreError):
    """A create-only put found the key taken; nothing was written."""


class NotWritten(StoreError):
    """A put failed and certainly wrote nothing; it may be repeated."""


class UnknownOutcome(StoreError):
    """The reply to a put was lost: whether it was written is unknown until it is looked up."""


class UnsafeStore(StoreError):
    """The store ignores create-only puts, so no promise could be kept on it."""


class LedgerError(FuselineError):
    """The ledger cannot be read: a broken entry, or one of a newer format."""


class ArtifactError(FuselineError):
    """A stored artifact is not what was stored, or was made by other library versions."""


class QueueError(FuselineError):
    """The queue did not do what was asked; its messages come again."""


class NotDelivered(FuselineError):
    """An alert did not reach a channel; it is tried again."""


class Refused(FuselineError):
    """A precondition did not hold; nothing was changed."""


class HeldBack(FuselineError):
    """The breaker or the promotion gate held something back."""

    exit_code = 3
