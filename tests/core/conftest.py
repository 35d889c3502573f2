"""Hypothesis without its time limit per example: on a busy machine that says nothing about our code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
