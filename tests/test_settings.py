"""Settings from the environment: a wrong value is named, keys are made once and are nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from webapp.settings import Settings, SettingsError, read_settings


def read(tmp_path: Path, **environment: str) -> Settings:
    return read_settings({"HOLDFAST_DATA_DIR": str(tmp_path / "var"), **environment})


def test_an_empty_environment_is_enough(tmp_path: Path) -> None:
    settings = read(tmp_path)

    assert (settings.host, settings.port, settings.redis_embedded) == ("127.0.0.1", 8000, True)
    assert settings.database_url == f"sqlite:///{settings.data_directory / 'holdfast.sqlite'}"
    assert settings.archive_directory == settings.data_directory / "archives"


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)

    assert (first.secret_key, first.vault_keys) == (second.secret_key, second.vault_keys)
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    for name in ("secret.key", "vault.key"):
        assert stat.S_IMODE((tmp_path / "var" / name).stat().st_mode) == 0o600


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://db.example/holdfast\n")

    settings = read(tmp_path, DATABASE_URL_FILE=str(tmp_path / "url"))

    assert settings.database_url == "postgresql://db.example/holdfast"


def test_all_vault_keys_are_kept_in_their_order(tmp_path: Path) -> None:
    keys = [Fernet.generate_key().decode() for _ in range(3)]

    assert read(tmp_path, HOLDFAST_VAULT_KEYS=", ".join(keys)).vault_keys == tuple(keys)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("HOLDFAST_WORKERS", "0"),
        ("HOLDFAST_LOG_LEVEL", "LOUD"),
        ("HOLDFAST_COOKIE_SECURE", "perhaps"),
        ("HOLDFAST_POLL_SCALE", "nan"),
        ("HOLDFAST_VAULT_KEYS", "not a key"),
        ("HOLDFAST_HEARTBEAT_SECONDS", "31"),
        ("DATABASE_URL_FILE", "/nonexistent/url"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read(tmp_path, **{name: value})


def test_a_short_lease_is_renewed_in_time_by_default(tmp_path: Path) -> None:
    settings = read(tmp_path, HOLDFAST_LEASE_SECONDS="10")

    assert settings.heartbeat_seconds * 2 <= settings.lease_seconds


def test_the_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    settings = read(tmp_path)

    assert settings.secret_key not in repr(settings)
    assert settings.vault_keys[0] not in repr(settings)
