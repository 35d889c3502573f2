"""The audit page: filter in the address, pages, CSV, check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask

from tests.support.app import ALICE, BOB, Browser
from webapp.services import audit
from webapp.store.db import writing

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def fill(app: Flask) -> None:
    with app.app_context(), writing():
        for number in range(120):
            audit.record(
                ALICE if number % 2 else BOB,
                "job.changed",
                subject_kind="job",
                subject_name=f"Job {number:03}",
                details={"retention_value": [7, number]},
                now=START + timedelta(hours=number),
            )


def test_the_newest_come_first_fifty_at_a_time(app: Flask, alice: Browser) -> None:
    fill(app)

    first, third = alice.get("/audit").text, alice.get("/audit?page=3").text

    assert "Job 119" in first
    assert "Job 070" in first
    assert "Job 069" not in first
    assert "Job 019" in third
    assert "Job 000" in third


def test_a_filter_stands_in_the_address_and_is_kept_when_turning_pages(app: Flask, alice: Browser) -> None:
    fill(app)

    page = alice.get("/audit?actor=bob&from=2026-11-01&to=2026-11-05").text

    assert "Job 118" not in page
    assert "Job 106" in page
    assert "Job 001" not in page
    assert "actor=bob" in page
    assert 'value="2026-11-05"' in page


def test_nonsense_in_the_address_is_no_error(alice: Browser) -> None:
    assert alice.get("/audit?page=x&from=yesterday&to=%00&actor=%27--&event=%25").status_code == 200


def test_a_csv_has_the_same_events_and_no_formulas(app: Flask, alice: Browser) -> None:
    with app.app_context(), writing():
        audit.record("=cmd|'/c calc'!A1", "job.changed", subject_name="+1+1", now=START)

    answer = alice.get("/audit.csv?event=job.changed")

    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = answer.text.splitlines()
    assert len(lines) == 2
    assert ",'=cmd" in lines[1] or ",\"'=cmd" in lines[1]
    assert ",'+1+1" in lines[1]


def test_the_chain_can_be_checked(app: Flask, alice: Browser) -> None:
    fill(app)

    assert "The chain is intact." in alice.get("/audit?check=1").text


def test_denied_access_is_recorded(alice: Browser, charlie: Browser) -> None:
    assert charlie.get("/users").status_code == 403

    page = alice.get("/audit?event=access.denied").text

    assert "charlie" in page
    assert "/users" in page
