"""All the work without JavaScript: only what refreshes by itself is missing, and a live page then reloads itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import DESKTOP, Problems, Sources, sign_in
from tests.browser.holdfast import Holdfast
from tests.support.postgres import PASSWORD, SUPERUSER


@pytest.fixture
def plain(browser: Any, holdfast: Holdfast, problems: Problems) -> Iterator[Page]:
    """A page in a browser that runs no script."""
    context = browser.new_context(java_script_enabled=False, base_url=holdfast.url, viewport=DESKTOP)
    yield problems.watch(context.new_page())
    context.close()


def test_from_signing_in_to_deleting_without_a_script(plain: Page, sources: Sources, problems: Problems) -> None:
    problems.allow("status of 422")
    plain.goto("/")
    sign_in(plain, "alice")
    expect(plain.locator("#verdict-t")).to_be_visible()
    instance = add_an_instance(plain, sources)
    preview_a_job(plain)
    run_it_and_watch(plain, sources)
    open_a_menu_and_a_dialog(plain)
    delete_by_its_name(plain, instance)


def add_an_instance(plain: Page, sources: Sources) -> str:
    plain.goto("/instances")
    plain.get_by_role("link", name="Add instance").click()
    plain.get_by_role("link", name=re.compile("^PostgreSQL")).click()
    values = {
        "pg_host": "127.0.0.1",
        "pg_port": str(sources.server.port),
        "pg_user": SUPERUSER,
        "pg_password": PASSWORD,
    }
    walks.fill(plain, {"name": "no-script", "databases": "acme_test", **values})
    plain.get_by_role("button", name="Add and test connection").click()
    expect(plain.locator("h1")).to_have_text("no-script")
    return plain.url


def preview_a_job(plain: Page) -> None:
    plain.get_by_role("link", name="Add job").first.click()
    plain.fill("[name=name]", "Mondays")
    plain.check("[name=frequency][value=weekly]", force=True)
    plain.check("[name=weekdays][value='1']", force=True)
    plain.fill("[name=at]", "04:15")
    plain.get_by_role("button", name="Preview", exact=True).click()

    expect(plain.locator("#preview .say")).to_contain_text("04:15")
    expect(plain.locator("#preview .next li")).to_have_count(5)
    expect(plain.locator("#preview .next li").first).to_contain_text("Mon")
    expect(plain.locator("[name=name]")).to_have_value("Mondays")


def run_it_and_watch(plain: Page, sources: Sources) -> None:
    with sources.held("acme_test"):
        plain.get_by_role("button", name="Save and run now").click()
        expect(plain).to_have_url(re.compile(r"/runs/\d+$"))
        expect(plain.locator("noscript meta, meta[http-equiv=refresh]")).to_have_attribute("content", "10")

    walks.wait_for_outcome(plain, "Verified")

    expect(plain.locator("meta[http-equiv=refresh]")).to_have_count(0)
    expect(plain.locator("#run-results .checks li").first).to_be_visible()


def open_a_menu_and_a_dialog(plain: Page) -> None:
    plain.locator("summary[aria-label='More actions']").click()
    expect(plain.get_by_role("link", name="Log as text")).to_be_visible()
    plain.locator("summary[aria-label='Colours']").click()
    plain.get_by_role("button", name="Dark").click()
    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")
    plain.locator("summary[aria-label='Colours']").click()
    plain.get_by_role("button", name="Match system").click()
    expect(plain.locator("html[data-theme]")).to_have_count(0)


def delete_by_its_name(plain: Page, instance: str) -> None:
    plain.goto(f"{instance}/delete")
    plain.fill("[name=typed_name]", "another")
    plain.get_by_role("button", name="Delete no-script").click()
    expect(plain.locator(".note-box.fail")).to_be_visible()

    plain.fill("[name=typed_name]", "no-script")
    plain.get_by_role("button", name="Delete no-script").click()

    expect(plain.get_by_text("Deleted no-script.")).to_be_visible()
    expect(plain.locator("#instances")).not_to_contain_text("no-script")
