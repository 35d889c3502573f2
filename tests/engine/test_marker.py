"""The marker of a place: written once, read again, told when it is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.core.errors import StoreError
from webapp.core.status import ErrorCode
from webapp.engine.marker import Marker

MARKER = Marker(".holdfast-thing", "holdfast-thing", "thing")


def test_the_id_that_is_written_is_read_again(tmp_path: Path) -> None:
    written = MARKER.write(str(tmp_path))

    assert MARKER.read(str(tmp_path)) == written
    assert [path.name for path in tmp_path.iterdir()] == [".holdfast-thing"]


def test_a_directory_without_one_has_no_id_and_an_error_that_says_so(tmp_path: Path) -> None:
    assert MARKER.read(str(tmp_path)) is None

    error = MARKER.missing(str(tmp_path))

    assert error.code is ErrorCode.STORE_UNAVAILABLE
    assert error.message == f"The thing at {tmp_path} is not there: its marker .holdfast-thing is missing."


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"format": "other", "id": "x"}', "[" * 4096])
def test_a_damaged_one_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / ".holdfast-thing").write_text(text)

    with pytest.raises(StoreError, match=r"thing's marker \.holdfast-thing in .* is damaged"):
        MARKER.read(str(tmp_path))
