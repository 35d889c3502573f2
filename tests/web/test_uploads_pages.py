"""The upload page: what is taken, what is refused, and what a large file may not fill."""

from __future__ import annotations

import io
import os
from pathlib import Path

from flask import Flask, request

from tests.support.app import Browser, open_browser
from tests.support.odoo_zip import attachments, odoo_zip
from webapp.services.wiring import Wiring


def send(browser: Browser, content: bytes, name: str = "acme.zip", token: str | None = None):  # type: ignore[no-untyped-def]
    data = {"csrf_token": token or browser.csrf_token(), "file": (io.BytesIO(content), name)}
    return browser.post("/restore-points/upload", data=data, content_type="multipart/form-data")


def test_the_form_says_what_happens_with_a_file(bob: Browser) -> None:
    text = bob.get("/restore-points/upload").text

    assert 'enctype="multipart/form-data"' in text
    assert "stays in quarantine" in text


def test_no_file_is_said_at_the_field(bob: Browser) -> None:
    answer = bob.submit("/restore-points/upload")

    assert answer.status_code == 422
    assert "Choose a file." in answer.text


def test_what_is_no_archive_is_refused_with_the_reason(bob: Browser, wiring: Wiring) -> None:
    answer = send(bob, b"this is no archive at all" * 100)

    assert answer.status_code == 422
    assert "This file was not taken." in answer.text
    assert list(Path(wiring.archive_directory).rglob("*.zip")) == []


def test_a_file_over_the_small_limit_of_other_pages_is_taken_here_only(bob: Browser) -> None:
    big = b"x" * (2 * 1024 * 1024)

    assert send(bob, big).status_code == 422
    data = {"csrf_token": bob.csrf_token(), "file": (io.BytesIO(big), "a.zip")}
    assert bob.post("/instances/bulk", data=data, content_type="multipart/form-data").status_code == 413


def test_viewers_and_strangers_send_nothing(app: Flask, charlie: Browser, bob: Browser) -> None:
    stranger = open_browser(app)

    assert send(charlie, b"x").status_code == 403
    assert send(stranger, b"x").status_code == 303
    assert send(bob, b"x", token="nonsense").status_code == 403


def test_a_whole_backup_of_odoo_becomes_a_restore_point_that_can_be_restored(bob: Browser, wiring: Wiring) -> None:
    answer = send(bob, odoo_zip("shop", files=attachments(5)), "shop_2026-11-22.zip")

    assert answer.status_code == 303
    page = bob.get(answer.location).text
    assert "It is whole and can be restored." in page
    point = answer.location.rsplit("/", 1)[1]
    assert f"/restore/new?archive={point}" in page
    text = bob.get(f"/restore/new?archive={point}").text
    assert "Where to?" in text
    assert "No instance that is set up here can take it." in text
    assert f"archive={point}" in bob.get("/restore/new").text


def test_a_changed_backup_is_kept_apart_with_the_reasons(bob: Browser, charlie: Browser) -> None:
    changed = dict.fromkeys(attachments(5), b"not what it is named after")

    answer = send(bob, odoo_zip("shop", files=changed))

    page = charlie.get(answer.location).text
    assert "Kept apart: this file did not prove whole, so it cannot be restored." in page
    assert "Restore…" not in bob.get(answer.location).text


def test_a_large_file_lies_beside_the_archives_while_it_is_read_and_has_no_name(app: Flask, wiring: Wiring) -> None:
    with app.test_request_context("/restore-points/upload", method="POST"):
        request.max_content_length = wiring.upload_limit_bytes

        with request._get_file_stream(10**9, "application/zip", "a.zip") as stream:
            place = os.readlink(f"/proc/self/fd/{stream.fileno()}")

    assert place.startswith(f"{wiring.archive_directory.resolve()}/")
    assert place.endswith("(deleted)")
