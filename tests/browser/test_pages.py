"""Every page, in light and dark, on a desk and in a hand: no barrier, nothing in the console, nothing sideways."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import DESKTOP, PHONE, Problems, Shoot, Sources, sign_in
from tests.browser.holdfast import Holdfast

NARROWEST = {"width": 320, "height": 640}
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
OPTIONS: dict[str, Any] = {"runOnly": {"type": "tag", "values": list(RULES)}, "resultTypes": ["violations"]}
COLOURS_ONLY: dict[str, Any] = {
    "runOnly": {"type": "rule", "values": ["color-contrast"]},
    "resultTypes": ["violations"],
}

# Pages of Alice, who may see everything. Instances: 1 is real, 4 failed, 6 is overdue and muted, 7 is paused, 8 has never run.
PAGES = {
    "overview": "/",
    "instances": "/instances",
    "instances-failed": "/instances?is=failed",
    "instances-nothing-found": "/instances?q=nothing-has-this-name",
    "instance": "/instances/1",
    "instance-failed": "/instances/4",
    "instance-overdue": "/instances/6",
    "instance-paused": "/instances/7",
    "instance-never-run": "/instances/8",
    "instance-restore-points": "/instances/1/restore-points",
    "instance-runs": "/instances/1/runs",
    "instance-jobs": "/instances/1/jobs",
    "instance-settings": "/instances/1/settings",
    "instance-edit": "/instances/1/edit",
    "instance-pause": "/instances/1/pause",
    "instance-mute": "/instances/1/mute",
    "instance-delete": "/instances/1/delete",
    "instance-kinds": "/instances/new",
    "instance-new-odoo-http": "/instances/new?kind=odoo_http",
    "instance-new-odoo-postgres": "/instances/new?kind=odoo_postgres",
    "instance-new-postgres": "/instances/new?kind=postgres",
    "job": "/jobs/2",
    "job-new": "/instances/1/jobs/new",
    "job-edit": "/jobs/2/edit",
    "job-delete": "/jobs/2/delete",
    "job-edit-rules": "/jobs/3/edit",
    "job-retention": "/jobs/3/retention",
    "job-retention-replayed": "/jobs/3/retention?retention_mode=keep_last_n&retention_value=2",
    "job-retention-frozen": "/jobs/5/retention",
    "runs": "/runs",
    "runs-problems": "/runs?outcome=problems",
    "run-failed": "{failed}",
    "run-warnings": "{warnings}",
    "tasks": "/tasks",
    "task": "{test}",
    "restore-points": "/restore-points",
    "restore-points-deleted": "/restore-points?gone=1",
    "restore-points-trash": "/restore-points/trash",
    "restore-point-pin": "/restore-points/{point}/pin",
    "restore-point-delete": "/restore-points/{point}/delete",
    "restore": "/restore/new",
    "restore-source": "/restore/new?source=1",
    "restore-target": "/restore/new?source=1&step=target",
    "restore-target-replace": "/restore/new?source=1&step=target&target=replace",
    "restore-target-table": "/restore/new?source=1&step=target&target=table",
    "restore-options": "/restore/new?source=1&step=options&target=new_database&instance_id=1&database=acme_training",
    "restore-check": "{check}",
    "restore-check-failed": "{check_failed}",
    "restore-confirm": "{check}/replace",
    "restore-done": "{restore}",
    "restore-failed": "{restore_failed}",
    "drill": "{drill}",
    "drill-failed": "{drill_failed}",
    "kept": "/kept-databases",
    "kept-remove": "/kept-databases/1/remove",
    "refresh": "{refresh}",
    "refresh-edit": "{refresh}/edit",
    "upload": "/restore-points/upload",
    "uploaded": "{uploaded}",
    "hosts": "/hosts",
    "hosts-import": "/hosts/import",
    "host": "{host}",
    "host-restore-points": "{host}/restore-points",
    "host-settings": "{host}/settings",
    "host-edit": "{host}/edit",
    "host-job-new": "{host}/jobs/new",
    "host-new": "/instances/new?kind=host",
    "run-emptied": "{emptied}",
    "snapshot": "{snapshot}",
    "snapshot-files": "{snapshot}/files?path=/srv/www",
    "snapshot-search": "{snapshot}/search?q=nginx",
    "snapshot-changes": "{snapshot}/changes",
    "snapshot-restore": "{snapshot}/restore?path=/etc/hosts&path=/etc/nginx",
    "snapshot-dry-run": "{dry_run}",
    "snapshot-confirm": "{dry_run}/confirm",
    "audit": "/audit?check=1",
    "users": "/users",
    "user-new": "/users/new",
    "user": "/users/2",
    "settings": "/settings",
    "account": "/account",
    "search": "/search?q=acme",
    "search-nothing-found": "/search?q=nothing-has-this-name",
    "patterns": "/patterns",
    "welcome": "/welcome",
    "reauthenticate": "/reauthenticate",
}
SHOWN = (
    *(
        "overview",
        "instance",
        "job-edit",
        "run",
        "restore-source",
        "restore-target",
        "restore-options",
        "restore-check",
    ),
    *("restore-confirm", "restore-done", "drill", "restore-points", "job-retention", "job-retention-frozen"),
    *("job-edit-rules", "restore-points-trash", "restore-point-delete"),
    *("hosts", "host", "snapshot", "snapshot-files", "snapshot-changes", "snapshot-dry-run"),
)

Visit = Callable[..., None]


@pytest.fixture
def visit(problems: Problems, shoot: Shoot) -> Visit:
    """``visit(page, "runs")``: look at the page that is open in every way, and keep its pictures where they are shown."""

    def look(page: Page, name: str) -> None:
        for theme, options in (("light", OPTIONS), ("dark", COLOURS_ONLY)):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            for size, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
                page.set_viewport_size(viewport)  # type: ignore[arg-type]
                assert not barriers(page, options), f"{name}, {theme}, {size}"
                if name in SHOWN or os.environ.get("HOLDFAST_ALL_SCREENSHOTS"):
                    shoot(page, f"{name}-{theme}-{size}")
        for viewport in (PHONE, NARROWEST):
            page.set_viewport_size(viewport)  # type: ignore[arg-type]
            assert not too_wide(page), f"{name} at {viewport['width']}"
        assert page.locator("h1").count() == 1
        assert not problems.unexpected()

    return look


def barriers(page: Page, options: dict[str, Any]) -> list[str]:
    """What axe objects to, with the places."""
    found = Axe().run(page, options=options).response["violations"]
    return [f"{rule['id']}: {rule['help']}: {node['html'][:300]}" for rule in found for node in rule["nodes"]]


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways."""
    return list(
        page.evaluate("""() => {
            const root = document.documentElement, wide = root.clientWidth;
            if (root.scrollWidth <= wide) return [];
            const out = [...document.body.querySelectorAll('*')].filter((el) => el.getBoundingClientRect().right > wide + 1);
            return [`${root.scrollWidth} > ${wide}`, ...out.slice(0, 8).map((el) => el.outerHTML.slice(0, 160))];
        }""")
    )


@pytest.fixture(scope="session")
def places(browser: Any, holdfast: Holdfast) -> dict[str, str]:
    """Addresses of pages whose numbers only the API knows."""
    context = browser.new_context(base_url=holdfast.url)
    page = context.new_page()
    page.goto("/sign-in")
    sign_in(page, "alice")

    def newest(kind: str, status: str) -> int:
        answer = context.request.get(f"/api/v1/admin/background-tasks?task_type={kind}&status={status}&limit=1").json()
        return int((answer["tasks"] if isinstance(answer, dict) else answer)[0]["id"])

    def failed(emptied: bool) -> int:
        rows = context.request.get("/api/v1/runs?status=failed").json()["runs"]
        return int(next(row["id"] for row in rows if (row["error_code"] == "source_emptied") is emptied))

    snapshot = context.request.get("/api/v1/snapshots").json()["snapshots"][0]
    checks = context.request.get("/api/v1/admin/background-tasks?task_type=restore_check&limit=9").json()
    checks = checks["tasks"] if isinstance(checks, dict) else checks
    archives = csv.DictReader(io.StringIO(context.request.get("/restore-points.csv").text()))
    uploaded = next(row["restore_point"] for row in archives if row["instance"] == "Uploads")
    found = {
        "uploaded": f"/restore-points/{uploaded}",
        "refresh": "/refreshes/9",
        "check": f"/restore/checks/{checks[0]['id']}",
        "check_failed": f"/restore/checks/{checks[1]['id']}",
        "restore": f"/restores/{newest('restore', 'completed')}",
        "restore_failed": f"/restores/{newest('restore', 'failed')}",
        "drill": f"/drills/{newest('drill', 'completed')}",
        "drill_failed": f"/drills/{newest('drill', 'failed')}",
        "failed": f"/runs/{failed(False)}",
        "emptied": f"/runs/{failed(True)}",
        "host": f"/instances/{snapshot['instance_id']}",
        "snapshot": f"/snapshots/{snapshot['id']}",
        "dry_run": f"/snapshot-restores/{newest('snapshot_restore', 'completed')}",
        "warnings": f"/runs/{newest('backup', 'completed_with_warnings')}",
        "test": f"/tasks/{newest('connection_test', 'completed')}",
        "point": context.request.get("/restore-points.csv").text().splitlines()[1].split(",")[0],
    }
    context.close()
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean(name: str, alice: Page, visit: Visit, places: dict[str, str]) -> None:
    answer = alice.goto(PAGES[name].format(**places))

    assert answer is not None
    assert answer.status == 200
    visit(alice, name)


def test_a_run_is_clean_while_it_lives_and_when_it_is_done(alice: Page, visit: Visit, sources: Sources) -> None:
    with sources.held():
        alice.goto("/jobs/1")
        alice.get_by_role("button", name="Run now").click()
        expect(alice.locator("#run-progress progress")).to_be_visible()
        visit(alice, "run-live")
        run = alice.url
        alice.goto("/")
        expect(alice.locator("#running progress")).to_be_visible()
        visit(alice, "overview-running")
    alice.goto(run)
    walks.wait_for_outcome(alice, "Verified")
    expect(alice.locator("#activity")).to_be_hidden()
    visit(alice, "run")


def test_pages_of_strangers_are_clean(page: Page, visit: Visit, holdfast: Holdfast, problems: Problems) -> None:
    page.goto(f"{holdfast.url}/sign-in")
    visit(page, "sign-in")
    problems.allow("status of 401")
    page.fill("[name=username]", "mallory")
    page.fill("[name=password]", "guess")
    page.click("main button.primary")
    expect(page.locator(".errors")).to_be_visible()
    visit(page, "sign-in-refused")


def test_the_setup_is_clean(page: Page, visit: Visit, fresh: Holdfast) -> None:
    page.goto(fresh.setup_link)
    visit(page, "setup")
    page.goto(f"{fresh.url}/setup")
    visit(page, "setup-without-link")
    walks.open_setup(page, fresh)
    page.get_by_role("button", name="Create the administrator").click()
    for name in ("welcome", "instances", "runs", "tasks", "restore-points"):
        page.goto(f"{fresh.url}/{name}")
        visit(page, f"{name}-empty")


def test_error_pages_are_clean(alice: Page, visit: Visit, problems: Problems) -> None:
    problems.allow("status of 404")
    for path in ("/nowhere", "/runs/99999", "/instances/999"):
        answer = alice.goto(path)
        assert answer is not None
        assert answer.status == 404
    visit(alice, "error-404")


def test_a_viewer_sees_clean_pages_without_what_is_not_theirs(
    page: Page, visit: Visit, holdfast: Holdfast, problems: Problems
) -> None:
    page.goto(f"{holdfast.url}/sign-in")
    sign_in(page, "charlie")
    for name, path in (("overview", "/"), ("instance", "/instances/1"), ("job", "/jobs/2"), ("runs", "/runs")):
        page.goto(holdfast.url + path)
        expect(page.get_by_role("button", name="Back up now")).to_have_count(0)
        expect(page.get_by_role("link", name="Add instance")).to_have_count(0)
        expect(page.get_by_role("link", name="Users")).to_have_count(0)
        visit(page, f"viewer-{name}")
    problems.allow("status of 403")
    page.goto(f"{holdfast.url}/users")
    expect(page.locator("h1")).to_have_text("You may not do this")
    visit(page, "error-403")


def test_a_list_of_hosts_is_clean_when_it_was_read(alice: Page, visit: Visit, problems: Problems) -> None:
    problems.allow("status of 422")
    for name, address in (("good", "10.8.0.9"), ("refused", "not a host!")):
        alice.goto("/hosts/import")
        alice.fill("#text", f"name,address,user,paths,cron\nfiles-01,{address},root,/etc|/srv,15 2 * * *\n")
        alice.get_by_role("button", name="See what would be added").click()
        expect(alice.get_by_role("heading", name="What the file says")).to_be_visible()
        visit(alice, f"hosts-import-{name}")


def test_forms_that_were_refused_are_clean(alice: Page, visit: Visit, problems: Problems) -> None:
    problems.allow("status of 422")
    alice.goto("/instances/new?kind=odoo_postgres")
    walks.fill(
        alice, {"name": "acme-prod", "pg_host": "not a host!", "pg_user": "odoo", "filestore_path": "relative/path"}
    )
    alice.get_by_role("button", name="Add instance").click()
    expect(alice.locator(".errors")).to_be_focused()
    visit(alice, "instance-new-refused")
    alice.goto("/jobs/2/edit")
    alice.locator("#frequency label", has_text="Cron").click()
    alice.fill("[name=cron]", "30 2 31 11 *")
    expect(alice.locator("#preview .note-box.fail")).to_be_visible()
    alice.get_by_role("button", name="Save job", exact=True).click()
    expect(alice.locator(".errors")).to_be_focused()
    visit(alice, "job-refused")
