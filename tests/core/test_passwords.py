"""Which passwords are refused."""

from __future__ import annotations

import pytest

from webapp.core.passwords import find_weakness

COMMON = {"password", "qwertyuiop12", "sunshine", "1qaz2wsx3edc"}


@pytest.mark.parametrize(
    "password",
    [
        "elevenchars",
        "Password123!",
        "passwordpassword",
        "P@ssw0rd2026",
        "sunshine-2026!",
        "qwertyuiop12",
        "1qaz2wsx3edc",
        "abcdefghijklm",
        "12345678901234",
        "98765432109876",
        "aaaaaaaaaaaabbbb",
        "holdfast-2026!",
        "alice-alice-12",
        "Odoo-Backup-2026",
        "x" * 300,
    ],
)
def test_a_weak_password_is_refused_with_a_sentence(password: str) -> None:
    assert str(find_weakness(password, username="alice", common=COMMON)).endswith(".")


@pytest.mark.parametrize(
    "password",
    [
        "tulips on the window",
        "kX9#mP2$vL7q",
        "пароль из пяти слов",
        "correct horse battery",
        "a b c d e f g h i j",
        "🌷🌻🌹🌺 four flowers",
    ],
)
def test_a_good_password_needs_length_and_nothing_else(password: str) -> None:
    assert find_weakness(password, username="alice", common=COMMON) is None
