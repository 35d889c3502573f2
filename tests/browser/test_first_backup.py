"""The main job, whole, with nothing but a browser: from the printed link to a verified backup on schedule."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import Shoot, Sources
from tests.browser.holdfast import Holdfast
from tests.support.postgres import PASSWORD, SUPERUSER, running_server


def test_from_the_printed_link_to_a_verified_backup_on_schedule(
    fresh: Holdfast, sources: Sources, page: Page, shoot: Shoot, tmp_path: Path
) -> None:
    set_up(fresh, page, shoot)
    add_instance(fresh, sources, page, shoot)
    write_job(page, shoot)
    run = watch_the_scheduled_run(fresh, sources, page, shoot)
    read_the_report(page, shoot)
    prove_the_download(page, sources, tmp_path)
    look_at_the_overview(fresh, page, shoot, run)


def set_up(fresh: Holdfast, page: Page, shoot: Shoot) -> None:
    walks.open_setup(page, fresh)
    shoot(page, "01-setup")
    page.get_by_role("button", name="Create the administrator").click()

    expect(page).to_have_url(f"{fresh.url}/welcome")
    expect(page.locator(".todo .done")).to_have_count(1)
    shoot(page, "02-welcome")


def add_instance(fresh: Holdfast, sources: Sources, page: Page, shoot: Shoot) -> None:
    page.get_by_role("link", name="Add instance").click()
    shoot(page, "03-kinds")
    page.get_by_role("link", name="Odoo over PostgreSQL").click()
    walks.fill(
        page,
        {
            "name": "acme-prod",
            "customer": "Acme Industries",
            "tags": "prod",
            "pg_host": "127.0.0.1",
            "pg_port": str(sources.server.port),
            "pg_user": SUPERUSER,
            "pg_password": PASSWORD,
            "filestore_path": str(sources.filestore),
            "databases": "acme_prod",
        },
    )
    shoot(page, "04-instance")
    page.get_by_role("button", name="Add and test connection").click()
    expect(page.get_by_role("heading", name="acme-prod")).to_be_visible()

    walks.wait_for_connection_test(page, "Reachable")

    checks = page.locator("#connection .checks li")
    assert checks.count() >= 5
    expect(checks.locator("svg")).to_have_count(checks.count())
    assert "failed" not in page.locator("#connection .checks").inner_text().lower()
    for question in ("PostgreSQL", "ilestore"):
        expect(page.locator("#connection .checks")).to_contain_text(question)
    shoot(page, "05-connection")


def write_job(page: Page, shoot: Shoot) -> None:
    page.get_by_role("link", name="Add job").first.click()
    walks.add_job(page, "Every minute", "* * * * *")
    expect(page.locator("#preview .say")).to_contain_text("Every minute")
    shoot(page, "06-job")
    page.get_by_role("button", name="Save job", exact=True).click()
    expect(page.get_by_text("Added Every minute.")).to_be_visible()
    shoot(page, "07-planned")


def watch_the_scheduled_run(fresh: Holdfast, sources: Sources, page: Page, shoot: Shoot) -> int:
    with sources.held():
        run = walks.wait_for_run(page, fresh.url)
        expect(page.locator("#run-head .sub")).to_contain_text("Schedule")
        expect(page.locator("#run-head h1 .pill")).to_contain_text("Running")
        expect(page.locator("#run-progress progress")).to_be_visible()
        expect(page.locator("#run-steps .step").nth(1)).to_be_visible()
        shoot(page, "08-run-live")

    walks.wait_for_outcome(page, "Verified")
    return run


def read_the_report(page: Page, shoot: Shoot) -> None:
    expect(page.locator("#run-results .checks li")).to_have_count(7, timeout=10_000)
    report = page.locator("#run-results .checks")
    for evidence in ("XXH3", "every CRC", "last line", "counted in the same snapshot", "ir_attachment"):
        expect(report).to_contain_text(evidence)
    expect(page.locator("#run-results .card-h .pill").first).to_have_text("Complete")
    expect(page.locator("#run-steps .step")).to_have_count(6)
    assert "spin" not in page.locator("#run-steps").inner_html()
    expect(page.locator("#activity")).to_be_hidden()
    shoot(page, "09-run-verified")


def prove_the_download(page: Page, sources: Sources, tmp_path: Path) -> None:
    unpacked = walks.unpack(walks.download(page, tmp_path), tmp_path / "unpacked")

    with running_server() as second:
        rows = walks.load_into_a_new_database(second, unpacked / "dump.sql", "acme_restored")
    assert rows == sources.server.counts("acme_prod")
    files = walks.files_below(unpacked / "filestore")
    assert sorted(files) == list(sources.acme.names)
    assert all(name.split("/")[1] == digest for name, digest in files.items())


def look_at_the_overview(fresh: Holdfast, page: Page, shoot: Shoot, run: int) -> None:
    page.goto(f"{fresh.url}/restore-points")
    expect(page.locator("#archives tbody tr").last.locator(".state")).to_have_text("Verified")
    shoot(page, "10-restore-points")
    page.goto(f"{fresh.url}/welcome")
    expect(page.locator(".todo .done")).to_have_count(5)
    shoot(page, "11-all-done")
    page.goto(fresh.url)
    expect(page.locator("#verdict-t")).to_have_text("The instance is protected")
    expect(page.locator("#verdict")).to_have_class("card verdict ok")
    shoot(page, "12-overview")
    assert page.request.get(f"{fresh.url}/runs/{run}/report.json").json()["verification_status"] == "passed"
