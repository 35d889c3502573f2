"""What a person does in the browser, step by step: shared by the tests of a first backup."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.holdfast import Holdfast
from tests.support.cast import PASSWORD
from tests.support.postgres import PostgresServer

SLOT_SECONDS = 90
FINAL = re.compile("^(Verified|Completed|Warnings|Failed|Cancelled|Interrupted|Timed out)$")


def fill(page: Page, values: Mapping[str, str]) -> None:
    """Type into the fields of these names."""
    for name, value in values.items():
        page.fill(f"[name={name}]", value)


def open_setup(page: Page, fresh: Holdfast) -> None:
    """Follow the printed link and fill in the form; stops before sending it."""
    page.goto(fresh.setup_link)
    fill(page, {"username": "alice", "display_name": "Alice", "password": PASSWORD, "repeated": PASSWORD})


def wait_for_connection_test(page: Page, word: str) -> None:
    """The card of the instance page replaces itself until the test has ended with this word."""
    expect(page.locator("#connection .card-h .pill")).to_have_text(word, timeout=40_000)


def add_job(page: Page, name: str, cron: str) -> None:
    """Write a job with a cron expression in the editor that is open; stops before saving."""
    page.fill("[name=name]", name)
    page.locator("#frequency label", has_text="Cron").click()
    page.fill("[name=cron]", cron)
    expect(page.locator("#preview .next li")).to_have_count(5)


def wait_for_run(page: Page, root: str, trigger: str = "Schedule", seconds: float = SLOT_SECONDS) -> int:
    """Look at the runs until there is one with this trigger, and open the newest of them; its number."""
    page.goto(f"{root}/runs")
    link = page.locator("#runs tbody tr", has_text=trigger).locator("a.name[href^='/runs/']").first
    deadline = time.monotonic() + seconds
    while not link.count():
        assert time.monotonic() < deadline, f"no run within {seconds} s"
        page.wait_for_timeout(300)
        page.reload()
    path = link.get_attribute("href") or ""
    page.goto(root + path)
    return int(path.rsplit("/", 1)[1])


def wait_for_outcome(page: Page, word: str) -> None:
    """The run page, which refreshes itself, comes to this word. Nothing reloads it here."""
    pill = page.locator("#run-head h1 .pill")
    expect(pill).to_have_text(FINAL, timeout=60_000)
    assert pill.inner_text() == word, page.locator("main").inner_text()


def download(page: Page, directory: Path) -> Path:
    """Download the archive of the run page that is open."""
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download").click()
    path = directory / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


def unpack(archive: Path, directory: Path) -> Path:
    """The archive as a person would look at it: ``unzip -t``, then unzip."""
    tested = subprocess.run(["unzip", "-tq", archive], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
    return directory


def files_below(filestore: Path) -> dict[str, str]:
    """Stored name ("ab/abcd…") → SHA-1 of what is in it."""
    found = {}
    for path in filestore.glob("*/*"):
        found[str(path.relative_to(filestore))] = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    return found


def load_into_a_new_database(server: PostgresServer, dump: Path, name: str) -> dict[str, int]:
    """Load with ``psql -X -v ON_ERROR_STOP=1 -1`` into an empty database made from template0; rows by table."""
    server.create_database(name)
    server.load(dump, name)
    return server.counts(name)
