"""Fuseline: batch machine-learning pipelines that stop themselves before they do harm."""

from __future__ import annotations

METAFLOW_PACKAGE_POLICY = "include"
__version__ = "0.1.0"
