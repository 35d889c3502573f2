"""Settings of the installation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from flask import Flask

from tests.support.app import ALICE
from webapp.core.errors import InvalidInput
from webapp.core.status import RetentionMode, VerificationLevel
from webapp.services import audit
from webapp.services.audit import AuditFilter
from webapp.services.settings import AppSettings, change_settings, get_settings
from webapp.store.db import writing
from webapp.store.models import Setting


def test_without_any_row_the_defaults_are_in_force(service: Flask) -> None:
    assert get_settings() == AppSettings()


def test_what_is_stored_is_read_back(service: Flask, now: datetime) -> None:
    wanted = AppSettings(
        title="Backups of Acme",
        time_zone="Europe/Brussels",
        retention_mode=RetentionMode.OLDER_THAN_DAYS,
        retention_value=30,
        verification_level=VerificationLevel.INTACT,
        spread_seconds=600,
        reserve_bytes=5 * 1024**3,
    )

    change_settings(wanted, actor=ALICE, now=now)

    assert get_settings() == wanted


def test_only_what_differs_is_recorded(service: Flask, now: datetime) -> None:
    change_settings(replace(AppSettings(), time_zone="Asia/Tokyo"), actor=ALICE, now=now)
    change_settings(replace(AppSettings(), time_zone="Asia/Tokyo"), actor=ALICE, now=now)

    rows, total = audit.list_events(AuditFilter(event="settings.changed"))

    assert total == 1
    assert rows[0].details == {"time_zone": ["UTC", "Asia/Tokyo"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "  "),
        ("title", "x" * 61),
        ("time_zone", "Mars/Olympus"),
        ("retention_value", 0),
        ("spread_seconds", 3601),
        ("reserve_bytes", -1),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_at_its_field(
    service: Flask, now: datetime, field: str, value: object
) -> None:
    with pytest.raises(InvalidInput) as refused:
        change_settings(replace(AppSettings(), **{field: value}), actor=ALICE, now=now)  # type: ignore[arg-type]

    assert refused.value.field == field
    assert get_settings() == AppSettings()


def test_a_stored_value_that_no_longer_fits_does_not_stop_us(service: Flask, now: datetime) -> None:
    with writing() as session:
        session.add(Setting(key="retention_mode", value="grandfather", updated_at=now))
        session.add(Setting(key="reserve_bytes", value="many", updated_at=now))
        session.add(Setting(key="unknown", value=1, updated_at=now))

    assert get_settings() == AppSettings()
