"""Paths of hosts as text: bytes that are not UTF-8 stand in it as surrogate escapes, as ``os.fsdecode`` leaves them."""

from __future__ import annotations


def path_bytes(path: str) -> bytes:
    """The path as its host has it."""
    return path.encode("utf-8", "surrogateescape")


def path_from_bytes(path: bytes) -> str:
    """The inverse of ``path_bytes``."""
    return path.decode("utf-8", "surrogateescape")


def storable_path(path: str) -> str:
    """The path as text that every database, JSON and page takes: a replacement character for each byte that is not UTF-8."""
    return path_bytes(path).decode("utf-8", "replace")
