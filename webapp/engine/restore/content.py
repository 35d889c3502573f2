"""Content hashes: two databases hold the same rows, or one can say in which table they differ."""

from __future__ import annotations

from webapp.engine.pgconnect import Connection
from webapp.engine.report import Reporter


def content_hashes(connection: Connection, reporter: Reporter) -> dict[str, str]:
    """SHA-256 per "schema.table" over its rows as text, ordered; and per sequence over its state.

    It sees what the session's transaction sees, so the caller decides about the snapshot.
    """
    raise NotImplementedError
