"""The engine's servers, for restores that use none of our code."""

from __future__ import annotations

from tests.engine.conftest import postgres_server, prod, scratch, second_server

__all__ = ["postgres_server", "prod", "scratch", "second_server"]
