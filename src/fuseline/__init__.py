"""Fuseline: batch machine-learning pipelines that stop themselves before they do harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fuseline.revision import VERSION

if TYPE_CHECKING:
    from fuseline.monitor import Monitor as Monitor

METAFLOW_PACKAGE_POLICY = "include"
__version__ = VERSION
__all__ = ["Monitor", "__version__"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: reading a ledger needs no pandas."""
    if name == "Monitor":
        from fuseline.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
