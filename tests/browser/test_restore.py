"""Restores through the pages, for real: to a new database, as a replacement, through Odoo, and without a script."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import DESKTOP, Problems, Shoot, Sources, sign_in
from tests.browser.holdfast import Holdfast
from tests.support.cast import PASSWORD as CAST_PASSWORD
from tests.support.odoo_like import OdooLike
from tests.support.postgres import PostgresServer

MASTER_PASSWORD = "correct horse"
SECONDS = 90_000


@pytest.fixture(scope="session")
def backed_up(holdfast: Holdfast, sources: Sources, browser: Any) -> str:
    """The path of a run that really backed acme_prod up; what is in the archive is what the server holds."""
    context = browser.new_context(base_url=holdfast.url)
    page = context.new_page()
    page.goto("/sign-in")
    sign_in(page, "alice")
    page.goto("/instances/1")
    page.get_by_role("button", name="Back up now").click()
    run = walks.wait_for_run(page, holdfast.url, "By alice")
    walks.wait_for_outcome(page, "Verified")
    context.close()
    return f"/runs/{run}"


@pytest.fixture
def plain(browser: Any, holdfast: Holdfast, problems: Problems) -> Iterator[Page]:
    """Alice's page in a browser that runs no script."""
    context = browser.new_context(java_script_enabled=False, base_url=holdfast.url, viewport=DESKTOP)
    page = problems.watch(context.new_page())
    page.goto("/")
    sign_in(page, "alice")
    yield page
    context.close()


def contents(server: PostgresServer, database: str) -> dict[str, list[Any]]:
    """Every row of every table, but for what a copy must have of its own."""
    return {
        name: sorted(str(row) for row in server.rows(f"SELECT t::text FROM {quoted(name)} t", database))
        for name in server.counts(database)
        if name != "public.ir_config_parameter"
    }


def quoted(name: str) -> str:
    """An identifier of "schema.table", whatever is in it."""
    return ".".join(f'"{part.replace(chr(34), chr(34) * 2)}"' for part in name.split(".", 1))


def choose_target(page: Page, target: str, **fields: str) -> None:
    """Step 2: the radio, the fields that it shows, Continue."""
    page.check(f"[name=target][value={target}]", force=True)
    walks.fill(page, fields)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="How?")).to_be_visible()


def pass_the_check(page: Page) -> None:
    """Steps 3 and 4: as proposed; the check refreshes itself and leads on."""
    page.get_by_role("button", name="Check the target").click()
    expect(page).to_have_url(re.compile(r"/restore/checks/\d+$"))
    go_on = page.get_by_role("link", name="Continue")
    expect(page.locator("#checks-t")).to_have_text("What was found", timeout=SECONDS)
    assert go_on.count() == 1, page.locator("main").inner_text()
    go_on.click()


def wait_for_restore(page: Page, word: str = "Completed") -> None:
    """The restore's page, which refreshes itself, comes to this word."""
    pill = page.locator("#restore-head h1 .pill")
    expect(pill).to_have_text(walks.FINAL, timeout=SECONDS)
    assert pill.inner_text() == word, page.locator("main").inner_text()


def test_a_backup_is_restored_to_a_new_database(
    alice: Page, backed_up: str, sources: Sources, holdfast: Holdfast
) -> None:
    alice.goto(backed_up)
    alice.get_by_role("link", name="Restore…").click()
    choose_target(alice, "new_database", database_new_database="acme_copy")
    expect(alice.locator("[name=neutralise]")).to_be_checked()
    alice.uncheck("[name=neutralise]")
    alice.uncheck("[name=new_identity]")
    pass_the_check(alice)
    expect(alice.get_by_text("This copy is not neutralised.")).to_be_visible()
    alice.get_by_role("button", name="Restore to acme_copy").click()

    wait_for_restore(alice)

    expect(alice.locator("#restore-progress .note-box.ok")).to_contain_text("Restored acme_copy: ")
    expect(alice.locator("#restore-results .checks .fail")).to_have_count(0)
    assert contents(sources.server, "acme_copy") == contents(sources.server, "acme_prod")
    assert walks.files_below(sources.filestore / "acme_copy") == walks.files_below(sources.filestore / "acme_prod")
    alice.goto("/runs")
    expect(alice.locator("#runs")).not_to_contain_text("acme_copy")
    sources.server.drop_database("acme_copy")


def test_a_database_is_replaced_and_the_one_before_is_kept_until_it_is_removed(
    alice: Page, backed_up: str, sources: Sources, problems: Problems
) -> None:
    problems.allow("status of 422")
    server = sources.server
    server.create_database("acme_live", "acme_test")
    shutil.copytree(sources.filestore / "acme_test", sources.filestore / "acme_live")
    before = contents(server, "acme_live")
    alice.goto(backed_up)
    alice.get_by_role("link", name="Restore…").click()
    choose_target(alice, "replace", database_replace="acme_live")
    alice.uncheck("[name=neutralise]")  # proposed, since it is another database's backup
    alice.uncheck("[name=new_identity]")
    pass_the_check(alice)

    expect(alice.get_by_role("link", name="Cancel")).to_be_focused()
    expect(alice.locator("main")).to_contain_text("will be gone from the live database")
    button = alice.get_by_role("button", name="Replace acme_live")
    expect(button).to_be_disabled()
    alice.fill("[name=typed]", "acme_live")
    button.click()
    wait_for_restore(alice)

    expect(alice.locator("#restore-progress")).to_contain_text("acme_live was replaced whole.")
    assert contents(server, "acme_live") == contents(server, "acme_prod")
    kept = alice.locator("#restore-results code", has_text="acme_live__before_").inner_text()
    server.execute(f'ALTER DATABASE "{kept}" ALLOW_CONNECTIONS true')
    assert contents(server, kept) == before
    server.execute(f'ALTER DATABASE "{kept}" ALLOW_CONNECTIONS false')
    expect(alice.get_by_role("link", name=re.compile(r"^Run #\d+"))).to_have_count(2)
    remove_what_was_kept(alice, kept)
    assert kept not in [row[0] for row in server.rows("SELECT datname FROM pg_database")]
    server.drop_database("acme_live")


def remove_what_was_kept(page: Page, kept: str) -> None:
    page.goto("/kept-databases")
    page.get_by_role("link", name=f"Remove… {kept}").click()
    page.fill("[name=typed]", kept)
    page.get_by_role("button", name=f"Remove {kept}").click()
    expect(page.locator("h1 .pill")).to_have_text("Completed", timeout=SECONDS)
    page.goto("/kept-databases")
    expect(page.get_by_text(kept)).to_have_count(0)


def test_a_backup_is_restored_through_odoo(alice: Page, backed_up: str, holdfast: Holdfast, problems: Problems) -> None:
    problems.allow("status of 422")
    with OdooLike(version="18.0", master_password=MASTER_PASSWORD, databases={}) as odoo:
        alice.goto("/instances/new?kind=odoo_http")
        walks.fill(alice, {"name": "beta-odoo", "url": odoo.url, "master_password": MASTER_PASSWORD})
        alice.check("[name=allow_plain_http]")
        alice.get_by_role("button", name="Add instance").click()
        expect(alice.locator("h1")).to_have_text("beta-odoo")
        alice.goto(backed_up)
        alice.get_by_role("link", name="Restore…").click()
        alice.check("[name=target][value=odoo]", force=True)
        alice.select_option("[name=instance_id_odoo]", label="beta-odoo")
        choose_target(alice, "odoo", database_odoo="acme_training")
        alice.uncheck("[name=neutralise]")
        pass_the_check(alice)
        alice.get_by_role("button", name="Restore to acme_training").click()

        wait_for_restore(alice)

        assert [one.name for one in odoo.restored] == ["acme_training"]
        assert MASTER_PASSWORD not in alice.content()
    alice.goto("/instances?q=beta-odoo")
    alice.get_by_role("link", name="beta-odoo").first.click()
    delete_instance(alice, "beta-odoo")


def delete_instance(page: Page, name: str) -> None:
    expect(page.locator("h1")).to_contain_text(name)
    page.goto(f"{page.url}/delete")
    page.fill("[name=typed_name]", name)
    page.get_by_role("button", name=f"Delete {name}").click()


def test_a_restore_without_a_script(plain: Page, backed_up: str, sources: Sources, problems: Problems) -> None:
    problems.allow("status of 422")
    plain.goto(backed_up)
    plain.get_by_role("link", name="Restore…").click()
    choose_target(plain, "new_database", database_new_database="acme_prod")
    plain.get_by_role("button", name="Check the target").click()
    expect(plain.locator("#checks-t")).to_have_text("What was found", timeout=SECONDS)
    expect(plain.get_by_role("link", name="Continue")).to_have_count(0)

    plain.get_by_role("link", name="Back").click()
    choose_target(plain, "new_database", database_new_database="no/slashes")
    plain.get_by_role("button", name="Check the target").click()
    expect(plain.locator(".errors")).to_be_visible()

    choose_target(plain, "new_database", database_new_database="acme_plain")
    pass_the_check(plain)
    plain.get_by_role("button", name="Restore to acme_plain").click()
    expect(plain).to_have_url(re.compile(r"/restores/\d+$"))
    wait_for_restore(plain)
    expect(plain.locator("meta[http-equiv=refresh]")).to_have_count(0)
    copied = sources.server.rows("SELECT count(*) FROM mail_message", "acme_plain")
    assert copied == sources.server.rows("SELECT count(*) FROM mail_message", "acme_prod")
    sources.server.drop_database("acme_plain")


def test_one_table_is_downloaded_as_csv(alice: Page, backed_up: str, sources: Sources, tmp_path: Path) -> None:
    alice.goto(backed_up)
    alice.get_by_role("link", name="Restore…").click()
    choose_target(alice, "table", piece_table="public.res_users")
    pass_the_check(alice)
    alice.get_by_role("button", name="Export the table").click()
    wait_for_restore(alice)

    with alice.expect_download() as coming:
        alice.get_by_role("link", name="Download").click()

    coming.value.save_as(tmp_path / "res_users.csv")
    rows = (tmp_path / "res_users.csv").read_text().strip().splitlines()
    assert len(rows) == sources.server.counts("acme_prod")["public.res_users"] + 1


def test_a_backup_is_restored_for_practice(alice: Page, backed_up: str, shoot: Shoot) -> None:
    alice.goto(backed_up)
    alice.locator("summary[aria-label='More actions']").click()
    alice.get_by_role("button", name="Test restore").click()
    expect(alice).to_have_url(re.compile(r"/drills/\d+$"))

    expect(alice.locator("#verdict-t")).to_contain_text("It can be restored", timeout=SECONDS)

    expect(alice.locator("#drill-results .checks .fail")).to_have_count(0)
    shoot(alice, "drill-report")
    alice.goto(backed_up)
    expect(alice.locator("#run-results")).to_contain_text("Restore takes")
    alice.goto("/instances/1")
    expect(alice.locator(".kpis")).to_contain_text("restore takes")


def test_a_replacement_asks_for_the_password_again(
    browser: Any, holdfast: Holdfast, alice: Page, backed_up: str, sources: Sources
) -> None:
    """Ten minutes after signing in; here the confirmation is asked for without a session at all."""
    alice.goto(backed_up)
    alice.get_by_role("link", name="Restore…").click()
    choose_target(alice, "replace", database_replace="acme_test")
    pass_the_check(alice)
    path = alice.url

    context = browser.new_context(base_url=holdfast.url)
    page = context.new_page()
    page.goto(path)

    expect(page).to_have_url(re.compile("/sign-in"))
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", CAST_PASSWORD)
    page.click("main button.primary")
    expect(page.locator("main")).to_contain_text("Type acme_test to confirm")
    context.close()
