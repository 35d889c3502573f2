"""A host, whole, with nothing but a browser and a real SSH server: from its key to a file put back."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, expect

from tests.browser import walks
from tests.browser.conftest import Shoot
from tests.browser.holdfast import Holdfast
from tests.support.host_pages import fill_day
from tests.support.sshd import SshServer, running_sshd

NAME = "web-03"


@pytest.fixture
def server() -> Iterator[SshServer]:
    with running_sshd() as running:
        yield running


@pytest.fixture
def source() -> Iterator[Path]:
    """What the host holds, in a path that may be shown in pictures."""
    with TemporaryDirectory(prefix="host-") as directory:
        fill_day(Path(directory), 0)
        yield Path(directory)


@pytest.mark.timeout(600)
def test_from_a_new_host_to_a_file_put_back(
    fresh: Holdfast, server: SshServer, source: Path, page: Page, shoot: Shoot
) -> None:
    walks.open_setup(page, fresh)
    page.get_by_role("button", name="Create the administrator").click()
    add_host(page, server, source, shoot)
    pin_its_key(page, server, shoot)
    let_it_in(page, server)
    prove_its_connection(page, shoot)
    write_job(page, shoot)

    first = walks.wait_for_run(page, fresh.url)
    walks.wait_for_outcome(page, "Verified")
    switch_the_job_off(page)
    fill_day(source, 2)
    second = run_by_hand(page)
    walks.wait_for_outcome(page, "Verified")
    shoot(page, "host-05-run")

    older, newer = snapshots_of(page, fresh, first, second)
    share_what_did_not_change(older, newer, source)
    browse(page, source, shoot)
    tell_what_changed(page, source, shoot)
    restore_one_file(page, fresh, source, shoot)
    look_at_retention(page, fresh, shoot)


def add_host(page: Page, server: SshServer, source: Path, shoot: Shoot) -> None:
    page.get_by_role("link", name="Hosts", exact=True).click()
    expect(page.get_by_role("heading", name="No hosts yet")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Add host").last.click()
    fields = {"name": NAME, "ssh_host": "127.0.0.1", "ssh_port": str(server.port), "ssh_user": server.user}
    walks.fill(page, {**fields, "customer": "Acme Industries", "paths": str(source), "excludes": "*.tmp"})
    shoot(page, "host-01-add")
    page.get_by_role("button", name="Add instance").click()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    expect(page.locator("#host")).to_contain_text("Key not pinned")


def pin_its_key(page: Page, server: SshServer, shoot: Shoot) -> None:
    page.get_by_role("button", name="Look at its key").click()
    told = subprocess.run(
        ["ssh-keygen", "-l", "-f", server.directory / "host_key.pub"], capture_output=True, text=True, check=True
    )
    fingerprint = told.stdout.split()[1]
    expect(page.locator("main")).to_contain_text(fingerprint)
    shoot(page, "host-02-fingerprint")
    page.get_by_role("button", name="It is the same: pin it").click()
    page.get_by_role("link", name="Overview", exact=True).last.click()
    expect(page.locator("#host")).to_contain_text("Key pinned")
    expect(page.locator("#host")).to_contain_text(fingerprint)


def let_it_in(page: Page, server: SshServer) -> None:
    """What a person does on the host: paste the line that the page offers."""
    line = page.locator("#host .cmd code").inner_text()
    assert line.startswith('restrict,command="rrsync -ro /" ssh-ed25519 ')
    (server.directory / "authorized_keys").write_text(line + "\n")


def prove_its_connection(page: Page, shoot: Shoot) -> None:
    page.get_by_role("button", name="Test now").click()
    expect(page.locator("#connection .card-h .pill")).to_have_text(
        re.compile("Reachable|Warnings|Failed"), timeout=40_000
    )
    assert page.locator("#connection .card-h .pill").inner_text() == "Reachable", page.locator("main").inner_text()
    expect(page.locator("#connection .checks")).to_contain_text("rsync")
    shoot(page, "host-03-connection")


def write_job(page: Page, shoot: Shoot) -> None:
    page.get_by_role("link", name="Add job").first.click()
    walks.add_job(page, "Every minute", "* * * * *")
    page.locator("#retention_mode label", has_text="The newest backups").click()
    expect(page.locator("#preview .say")).to_contain_text("Every minute")
    shoot(page, "host-04-job")
    page.get_by_role("button", name="Save job", exact=True).click()
    expect(page.get_by_text("Added Every minute.")).to_be_visible()


def run_by_hand(page: Page) -> int:
    page.locator("#jobs").get_by_role("link", name="Every minute").click()
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url(re.compile(r"/runs/\d+$"))
    return int(page.url.rsplit("/", 1)[1])


def switch_the_job_off(page: Page) -> None:
    """So that nothing changes while the rest is looked at."""
    page.locator("#run-head .crumbs").get_by_role("link", name=NAME).click()
    page.locator("#jobs details.menu summary").click()
    page.locator("#jobs").get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Disabled Every minute.")).to_be_visible()


def snapshots_of(page: Page, fresh: Holdfast, first: int, second: int) -> tuple[Path, Path]:
    found = page.request.get(f"{fresh.url}/api/v1/snapshots").json()["snapshots"]
    by_run = {row["run_id"]: row for row in found}
    assert by_run[second]["base_id"] is not None
    return Path(by_run[first]["path"]), Path(by_run[second]["path"])


def share_what_did_not_change(older: Path, newer: Path, source: Path) -> None:
    """The same inode for what stayed, another one for what changed."""
    old, new = Path(f"{older}/data{source}"), Path(f"{newer}/data{source}")
    assert (old / "etc/nginx/nginx.conf").stat().st_ino == (new / "etc/nginx/nginx.conf").stat().st_ino
    assert (old / "srv/www/picture-007.jpg").stat().st_ino == (new / "srv/www/picture-007.jpg").stat().st_ino
    assert (old / "etc/hosts").stat().st_ino != (new / "etc/hosts").stat().st_ino
    assert (new / "etc/hosts").read_bytes() == (source / "etc/hosts").read_bytes()
    assert not (new / "srv/www/picture-003.jpg").exists()


def browse(page: Page, source: Path, shoot: Shoot) -> None:
    page.get_by_role("link", name="Browse").click()
    expect(page.locator("#run-head")).to_have_count(0)
    for name in (*source.parts[1:], "srv", "www"):
        page.locator("table").get_by_role("link", name=name, exact=True).click()
    expect(page.locator("table")).to_contain_text("→ /srv/www/index.html")
    shoot(page, "host-06-browse")
    href = page.get_by_role("link", name="Folder as zip").get_attribute("href") or ""
    packed = page.request.get(urljoin(page.url, href))
    with zipfile.ZipFile(io.BytesIO(packed.body())) as opened:
        assert opened.testzip() is None
        assert f"{source}/srv/www/index.html".lstrip("/") in opened.namelist()
    page.fill("#files-q", "nginx*")
    page.press("#files-q", "Enter")
    expect(page.locator("table")).to_contain_text("etc/nginx/nginx.conf")


def tell_what_changed(page: Page, source: Path, shoot: Shoot) -> None:
    page.locator(".tabs").get_by_role("link", name="Changes").click()
    expect(page.locator("main")).to_contain_text(f"{source}/home/bob/notes day 2.txt")
    expect(page.locator("[aria-labelledby=c-removed]")).to_contain_text("picture-003.jpg")
    expect(page.locator("[aria-labelledby=c-changed]")).to_contain_text("etc/hosts")
    shoot(page, "host-07-changes")


def restore_one_file(page: Page, fresh: Holdfast, source: Path, shoot: Shoot) -> None:
    page.locator(".tabs").get_by_role("link", name="Files").click()
    page.fill("#files-q", "/etc/hosts")
    page.press("#files-q", "Enter")
    page.get_by_role("link", name=f"Restore {source}/etc/hosts").click()
    page.locator("#target label", has_text="A directory of this machine").click()
    page.fill("[name=directory]", "looked-at")
    shoot(page, "host-08-restore")
    page.get_by_role("button", name="See what would change").click()
    expect(page.locator("#restore-progress")).to_contain_text("would change. Nothing has yet.", timeout=40_000)
    expect(page.locator("#restore-results .log")).to_contain_text("etc/hosts")
    shoot(page, "host-09-dry-run")
    restored = fresh.directory / "restored" / "looked-at"
    assert not [path for path in restored.rglob("*") if path.is_file()]
    page.get_by_role("link", name="Restore these…").click()
    page.get_by_role("button", name=re.compile("^Restore ")).click()
    expect(page.locator("#restore-progress")).to_contain_text("Restored:", timeout=40_000)
    shoot(page, "host-10-restored")

    assert Path(f"{restored}{source}/etc/hosts").read_bytes() == (source / "etc/hosts").read_bytes()


def look_at_retention(page: Page, fresh: Holdfast, shoot: Shoot) -> None:
    page.goto(f"{fresh.url}/jobs/1/retention")
    expect(page.get_by_role("heading", name="Stays")).to_be_visible()
    shoot(page, "host-11-retention")
    page.goto(f"{fresh.url}/hosts")
    expect(page.locator("#hosts tbody tr")).to_have_count(1)
    shoot(page, "host-12-hosts")
    page.goto(f"{fresh.url}/instances/1")
    shoot(page, "host-13-instance")
