"""Fixtures of the services' tests."""

from __future__ import annotations

from tests.support.host_places import host_server, place

__all__ = ["host_server", "place"]
