"""Which Holdfast this is, for what outlives it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The installed version, "unknown" when it runs from a bare tree."""
    try:
        return version("holdfast")
    except PackageNotFoundError:
        return "unknown"
