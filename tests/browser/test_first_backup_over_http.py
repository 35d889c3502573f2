"""A first backup of an Odoo that is reached over HTTP, after everything that a person may get wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import Problems
from tests.browser.holdfast import Holdfast
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_zip import attachments, odoo_zip
from tests.support.postgres import running_server

RIGHT = "correct horse"
FILES = attachments(30)


@pytest.fixture
def odoo() -> Iterator[OdooLike]:
    """An Odoo 18 with one database."""
    with OdooLike(
        version="18.0", master_password=RIGHT, databases={"prod": Database(odoo_zip("prod", files=FILES))}
    ) as running:
        yield running


def test_wrong_turns_are_told_and_the_right_way_ends_in_a_verified_backup(
    fresh: Holdfast, odoo: OdooLike, page: Page, problems: Problems, tmp_path: Path
) -> None:
    walks.open_setup(page, fresh)
    page.get_by_role("button", name="Create the administrator").click()
    plain_http_needs_consent(fresh, odoo, page, problems)
    write_nightly_job(page)
    failed = a_wrong_password_is_told(fresh, odoo, page)
    the_default_password_is_refused(fresh, odoo, page, failed)
    enter_the_right_password(fresh, odoo, page)
    run = run_on_schedule(fresh, page)
    prove_the_download(page, tmp_path)
    assert odoo.posts()
    assert not any("admin" in post.form.get("master_pwd", "") for post in odoo.posts())
    page.goto(fresh.url)
    expect(page.locator("#verdict-t")).to_have_text("The instance is protected")
    assert RIGHT not in (page.goto(f"{fresh.url}/runs/{run}/log.txt") or pytest.fail("no log")).text()


def plain_http_needs_consent(fresh: Holdfast, odoo: OdooLike, page: Page, problems: Problems) -> None:
    problems.allow("status of 422")
    page.goto(f"{fresh.url}/instances/new?kind=odoo_http")
    walks.fill(page, {"name": "beta-shop", "url": odoo.url, "master_password": "not it"})
    page.get_by_role("button", name="Add and test connection").click()

    refusal = page.locator(".errors")
    expect(refusal).to_contain_text("plain HTTP")
    expect(refusal).to_be_focused()
    expect(page.locator("#allow_plain_http-error")).to_contain_text("tick the box if you accept that")
    assert not odoo.requests

    page.check("[name=allow_plain_http]")
    page.fill("[name=master_password]", "not it")
    page.get_by_role("button", name="Add and test connection").click()
    walks.wait_for_connection_test(page, "Warnings")
    expect(page.locator("#connection")).to_contain_text("the master password would travel unencrypted")
    assert not odoo.posts(), "a test of the connection posts no password"


def write_nightly_job(page: Page) -> None:
    page.get_by_role("link", name="Add job").first.click()
    page.fill("[name=name]", "Nightly")
    page.get_by_role("button", name="Save and run now").click()


def a_wrong_password_is_told(fresh: Holdfast, odoo: OdooLike, page: Page) -> int:
    run = walks.wait_for_run(page, fresh.url, "By alice")
    walks.wait_for_outcome(page, "Failed")

    note = page.locator("#run-progress .note-box")
    expect(note).to_contain_text("Odoo refused the master password.")
    expect(note).to_contain_text("auth_failed")
    expect(note).to_contain_text("admin_passwd of odoo.conf")
    expect(page.locator("#run-results")).to_contain_text("There was no archive to verify.")
    assert "not it" not in page.content()
    assert len(odoo.posts()) == 1, "a refused password is not tried again"
    return run


def the_default_password_is_refused(fresh: Holdfast, odoo: OdooLike, page: Page, failed: int) -> None:
    odoo.master_password = "admin"
    before = len(odoo.posts())
    page.get_by_role("button", name="Retry").click()
    expect(page).not_to_have_url(f"{fresh.url}/runs/{failed}")
    walks.wait_for_outcome(page, "Failed")

    note = page.locator("#run-progress .note-box")
    expect(note).to_contain_text("insecure_master_password")
    assert len(odoo.posts()) == before, "nothing is posted to an Odoo that would take any password for its own"
    page.goto(f"{fresh.url}/instances/1")
    page.locator("#connection").get_by_role("button", name="Test now").click()
    walks.wait_for_connection_test(page, "Failed")
    expect(page.locator("#connection")).to_contain_text("What to do")
    odoo.master_password = RIGHT


def enter_the_right_password(fresh: Holdfast, odoo: OdooLike, page: Page) -> None:
    page.goto(f"{fresh.url}/instances/1/edit")
    expect(page.locator("[name=master_password]")).to_have_value("")
    page.fill("[name=master_password]", odoo.master_password)
    page.get_by_role("button", name="Save instance").click()
    expect(page.get_by_text("Saved beta-shop.")).to_be_visible()


def run_on_schedule(fresh: Holdfast, page: Page) -> int:
    page.goto(f"{fresh.url}/jobs/1/edit")
    walks.add_job(page, "Every minute", "* * * * *")
    page.get_by_role("button", name="Save job", exact=True).click()
    run = walks.wait_for_run(page, fresh.url)
    walks.wait_for_outcome(page, "Verified")
    expect(page.locator("#run-results .card-h .pill").first).to_have_text("Complete")
    return run


def prove_the_download(page: Page, tmp_path: Path) -> None:
    unpacked = walks.unpack(walks.download(page, tmp_path), tmp_path / "unpacked")

    with running_server() as server:
        rows = walks.load_into_a_new_database(server, unpacked / "dump.sql", "restored")
    assert rows["public.ir_attachment"] == len(FILES)
    assert rows["public.res_users"] == 2
    files = walks.files_below(unpacked / "filestore")
    assert sorted(files) == sorted(FILES)
    assert all(name.split("/")[1] == digest for name, digest in files.items())
