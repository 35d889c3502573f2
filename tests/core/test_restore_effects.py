"""What a restore of files says of what it changes."""

from __future__ import annotations

from webapp.core.restore_effects import Effect, count_changed, effects_in_words


def test_only_what_happens_is_said_in_the_order_of_effects() -> None:
    counts = {"deleted": 1, "created": 0, "attributes": 3, "changed": 1200}

    assert effects_in_words(counts, dry_run=True) == [
        "1\N{NARROW NO-BREAK SPACE}200 would be overwritten",
        "3 would get other owners, modes or times",
        "1 would be removed",
    ]


def test_every_effect_has_its_words_for_one_and_for_several() -> None:
    for dry_run in (True, False):
        for number in (1, 2):
            counts = dict.fromkeys((effect.value for effect in Effect), number)
            said = effects_in_words(counts, dry_run=dry_run)
            assert len(said) == len(Effect)
            assert all(("would" in words) is dry_run for words in said)
    assert effects_in_words({"attributes": 1}, dry_run=False) == ["1 got another owner, mode or time"]


def test_what_is_left_out_changes_nothing() -> None:
    assert count_changed({"created": 2, "attributes": 1, "skipped": 7}) == 3
    assert effects_in_words({}, dry_run=True) == []
