"""Browser tests: Chromium of the system against a real ``holdfast up`` over real PostgreSQL databases.

``HOLDFAST_SCREENSHOTS=docs/screenshots`` (make screenshots) keeps the pictures; ``CHROMIUM`` names another browser. A test fails
when its pages wrote anything to the console that it did not announce with ``problems.allow``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.holdfast import ROOT, Holdfast, running_holdfast
from tests.browser.seed import seed_in_another_process
from tests.support.cast import PASSWORD
from tests.support.odoo_database import OdooDatabase, build_odoo_database
from tests.support.postgres import PostgresServer, running_server

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb"),
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
TALLEST = 1900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser, and may be the first to start PostgreSQL and Holdfast on a machine that is busy."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(300))


@dataclass
class Problems:
    """What pages wrote to the console, and what of it was to be expected."""

    found: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Messages that match this regular expression are meant to come."""
        self.allowed.append(pattern)

    def watch(self, page: Page) -> Page:
        """Listen to the page from now on."""
        page.on("console", lambda said: self._note(said.type, f"{said.text} ({page.url})"))
        page.on("pageerror", lambda error: self._note("error", f"{error} ({page.url})"))
        return page

    def unexpected(self) -> list[str]:
        """The messages that nobody announced."""
        return [text for text in self.found if not any(re.search(pattern, text) for pattern in self.allowed)]

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.found.append(text)


@dataclass(frozen=True)
class Sources:
    """What there is to back up: a server with two Odoo databases, their filestore, and the password of its user."""

    server: PostgresServer
    filestore: Path
    acme: OdooDatabase

    @contextmanager
    def held(self, database: str = "acme_prod") -> Iterator[None]:
        """A dump of the database comes no further than to its tables: another session holds one of them."""
        with self.server.connect(database) as holder:
            holder.execute("BEGIN; LOCK TABLE mail_message IN ACCESS EXCLUSIVE MODE")
            yield
            holder.execute("ROLLBACK")


Shoot = Callable[..., None]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium; nothing is downloaded."""
    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    return {**browser_type_launch_args, "executable_path": program, "args": list(FLAGS)}


@pytest.fixture(scope="session")
def base_url() -> None:
    """None for all: each test says where it goes. (The plugin's own fixture is of a kind that pytest 10 will not take.)"""


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """A desktop without animations, in English."""
    chosen = {"viewport": DESKTOP, "locale": "en-GB", "timezone_id": "Europe/Brussels", "reduced_motion": "reduce"}
    return {**browser_context_args, **chosen}


@pytest.fixture(scope="session")
def sources() -> Iterator[Sources]:
    """A PostgreSQL server with Odoo databases of some size and their filestore, in a path that may be shown in pictures."""
    with TemporaryDirectory(prefix="odoo-") as odoo, running_server() as server:
        filestore = Path(odoo) / "filestore"
        acme = build_odoo_database(server, "acme_prod", filestore, rows=8000, files=500, median_file_bytes=6000)
        build_odoo_database(server, "acme_test", filestore, rows=200, files=20, seed=8)
        yield Sources(server, filestore, acme)


@pytest.fixture(scope="session")
def holdfast(sources: Sources) -> Iterator[Holdfast]:
    """A Holdfast with a cast, several instances and weeks of history; instance 1 is the real ``acme_prod``."""
    with TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as home:
        directory = Path(home) / "var"
        seed_in_another_process(directory, sources.server.port, sources.filestore)
        with running_holdfast(directory) as running:
            yield running


@pytest.fixture
def fresh() -> Iterator[Holdfast]:
    """A Holdfast that is started for the first time, in a directory that did not exist."""
    with (
        TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as home,
        running_holdfast(Path(home) / "var") as running,
    ):
        yield running


# Dangerous pages want a password that was given within the last ten minutes.
RECENT_SECONDS = 240
_signed_in: dict[str, tuple[float, Any]] = {}


@pytest.fixture
def alice_state(browser: Any, browser_context_args: dict[str, Any], holdfast: Holdfast) -> Any:
    """The cookies of Alice (admin), signed in lately, and once for many tests."""
    at, state = _signed_in.get(holdfast.url, (0.0, None))
    if state is None or time.monotonic() - at > RECENT_SECONDS:
        context = browser.new_context(**browser_context_args)
        page = context.new_page()
        page.goto(f"{holdfast.url}/sign-in")
        sign_in(page, "alice")
        state = context.storage_state()
        context.close()
        _signed_in[holdfast.url] = time.monotonic(), state
    return state


def sign_in(page: Page, username: str) -> None:
    """Fill in the form on the page."""
    page.fill("[name=username]", username)
    page.fill("[name=password]", PASSWORD)
    page.click("main button.primary")
    page.wait_for_url(lambda url: "/sign-in" not in url)


@pytest.fixture
def problems() -> Iterator[Problems]:
    """What the console says; a test fails for what it did not announce."""
    noted = Problems()
    yield noted
    assert not noted.unexpected()


@pytest.fixture
def page(context: BrowserContext, problems: Problems) -> Page:
    """A page of a browser that has been nowhere yet, watched."""
    context.set_default_timeout(15_000)
    return problems.watch(context.new_page())


@pytest.fixture
def alice(
    browser: Any, browser_context_args: dict[str, Any], holdfast: Holdfast, alice_state: Any, problems: Problems
) -> Iterator[Page]:
    """A page of Alice's browser at the living Holdfast (``page.goto("/runs")``), watched."""
    context = browser.new_context(**browser_context_args, storage_state=alice_state, base_url=holdfast.url)
    context.set_default_timeout(15_000)
    yield problems.watch(context.new_page())
    context.close()


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """``shoot(page, "01-setup")`` keeps a picture of the whole page."""
    kept = os.environ.get("HOLDFAST_SCREENSHOTS")
    directory = ROOT / kept if kept else tmp_path
    directory.mkdir(parents=True, exist_ok=True)

    def shoot_page(page: Page, name: str) -> None:
        size = page.viewport_size or DESKTOP
        page.evaluate("window.scrollTo(0, 0)")
        tall = page.evaluate("document.fonts.ready.then(() => document.documentElement.scrollHeight)")
        page.set_viewport_size({"width": size["width"], "height": min(max(tall, size["height"]), TALLEST)})
        page.screenshot(path=directory / f"{name}.png", animations="disabled", caret="hide")
        page.set_viewport_size(size)

    return shoot_page
