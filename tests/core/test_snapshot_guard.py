"""When a tree is not promoted because its source looks emptied."""

from __future__ import annotations

import pytest

from webapp.core.snapshot_guard import Losses, is_shrunk, refusal_of


@pytest.mark.parametrize(
    ("base", "gone", "percent", "shrunk"),
    [
        (100, 50, 50, False),
        (100, 51, 50, True),
        (19, 19, 50, False),
        (20, 11, 50, True),
        (20, 10, 50, False),
        (1000, 1000, 100, False),
        (1000, 1, 0, True),
        (0, 0, 0, False),
    ],
)
def test_more_than_the_share_of_a_base_of_twenty_files(base: int, gone: int, percent: int, *, shrunk: bool) -> None:
    assert is_shrunk(base, gone, percent) is shrunk


def test_the_sentence_says_how_many_are_gone() -> None:
    assert refusal_of(Losses(1200, 900), 50) == (
        "900 of the 1\N{NARROW NO-BREAK SPACE}200 files and links of the snapshot before are gone (75 %; 50 % are allowed)."
    )


def test_an_emptied_directory_is_named() -> None:
    losses = Losses(1000, 30, emptied=(("/srv/data", 30),))

    assert refusal_of(losses, 50) == (
        "A directory is empty as if its disk were not mounted: /srv/data (30 files and links before)."
    )


def test_an_accepted_change_passes_but_for_the_sentinel() -> None:
    losses = Losses(1000, 999, emptied=(("/srv", 999),))

    assert refusal_of(losses, None) == ""
    assert refusal_of(Losses(missing_sentinels=("/srv/data/.here",)), None) == (
        "The sentinel file is not on the host: /srv/data/.here."
    )


def test_few_losses_are_no_reason() -> None:
    assert refusal_of(Losses(1000, 100), 50) == ""
