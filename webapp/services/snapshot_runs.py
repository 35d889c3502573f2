"""Snapshot runs: a host's Run executed. A plan from rows, the tree through the engine, the result in one transaction."""

from __future__ import annotations
