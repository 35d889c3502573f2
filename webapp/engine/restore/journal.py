"""The journal of a restore: what is about to be changed, stored before it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Journal = Callable[[Mapping[str, Any]], None]
"""Stores the whole state durably; each call replaces what the one before it stored."""
