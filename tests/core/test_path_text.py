"""Paths with bytes that are not UTF-8, as text and back."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from webapp.core.path_text import path_bytes, path_from_bytes, storable_path


@given(st.binary())
def test_any_bytes_come_back(path: bytes) -> None:
    assert path_bytes(path_from_bytes(path)) == path


def test_the_text_is_that_of_the_operating_system() -> None:
    assert path_bytes(os.fsdecode(b"/caf\xe9")) == b"/caf\xe9"


def test_what_is_stored_has_no_surrogates() -> None:
    assert storable_path("/café/\udce9x") == "/café/\N{REPLACEMENT CHARACTER}x"
