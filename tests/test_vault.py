"""The vault: what is sealed opens in its own place, with any key we still have, and nowhere else."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from webapp.core.plans import SEALED_PREFIX, Secret
from webapp.vault import Vault, VaultError

PLACE = "instance:1:master_password"


def key() -> str:
    return Fernet.generate_key().decode()


def test_a_sealed_secret_opens_again() -> None:
    vault = Vault([key()])

    sealed = vault.seal(Secret("pässword: \\'\"\n"), PLACE)

    assert sealed.startswith(SEALED_PREFIX)
    assert "pässword" not in sealed
    assert vault.open(sealed, PLACE).reveal() == "pässword: \\'\"\n"


@pytest.mark.parametrize("place", ["instance:2:master_password", "instance:1:pg_password", ""])
def test_a_sealed_secret_stays_shut_in_another_place(place: str) -> None:
    vault = Vault([key()])
    sealed = vault.seal(Secret("secret"), PLACE)

    with pytest.raises(VaultError):
        vault.open(sealed, place)


def test_old_keys_still_open_and_the_newest_seals() -> None:
    old, new = key(), key()
    sealed = Vault([old]).seal(Secret("secret"), PLACE)

    both = Vault([new, old])

    assert both.open(sealed, PLACE).reveal() == "secret"
    assert Vault([new]).open(both.seal(Secret("next"), PLACE), PLACE).reveal() == "next"


@pytest.mark.parametrize("damage", ["", "sealed1:", "sealed1:AAAA", "plain text"])
def test_what_no_key_opens_is_said_and_not_guessed(damage: str) -> None:
    with pytest.raises(VaultError) as caught:
        Vault([key()]).open(damage, PLACE)

    assert caught.value.permanent
    assert "vault key" in caught.value.hint


def test_the_key_of_another_installation_opens_nothing() -> None:
    sealed = Vault([key()]).seal(Secret("secret"), PLACE)

    with pytest.raises(VaultError):
        Vault([key()]).open(sealed, PLACE)


def test_nothing_stored_is_no_secret() -> None:
    assert not Vault([key()]).open(None, PLACE)
