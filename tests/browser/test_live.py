"""What moves by itself: polling and its end, a lost connection, a hidden tab, an ended session, the log, a cancel, an outage."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser import walks
from tests.browser.conftest import Problems, Sources, sign_in
from tests.browser.holdfast import Holdfast

TOLD_WITHIN_SECONDS = 60


class Polls:
    """Counts the requests of a page whose address holds a word."""

    def __init__(self, page: Page, word: str) -> None:
        self.count = 0
        self._word = word
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.count += self._word in request.url


def start_run(page: Page) -> int:
    """Press *Run now* of the real job; its page is open then."""
    page.goto("/jobs/1")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#run-head h1 .pill")).to_contain_text("Running")
    return int(page.url.rsplit("/", 1)[1])


def lines_of(page: Page) -> list[str]:
    """The numbers of the log lines, as they stand in the page."""
    return page.locator(".log li[id^=L]").evaluate_all("items => items.map((item) => item.id)")


def test_a_live_page_polls_until_its_parts_are_replaced_by_final_ones(alice: Page, sources: Sources) -> None:
    with sources.held():
        start_run(alice)
        polls = Polls(alice, "_b=progress")
        expect(alice.locator("#run-progress")).to_have_attribute("hx-trigger", re.compile("every"))
        alice.wait_for_timeout(1500)
        assert polls.count >= 2
        assert "Running" in alice.title()

    walks.wait_for_outcome(alice, "Verified")

    for part in ("run-head", "run-progress", "run-steps", "run-results"):
        expect(alice.locator(f"#{part}")).not_to_have_attribute("hx-trigger", re.compile("."))
    expect(alice.locator("#tail")).to_have_count(0)
    expect(alice).to_have_title(re.compile("Verified"))
    expect(alice.locator("#live")).to_contain_text("Verified")
    before, log = polls.count, Polls(alice, "/log?after=")
    alice.wait_for_timeout(1500)
    assert (polls.count, log.count) == (before, 0)


def test_the_log_shows_each_line_once_even_when_the_server_is_slow(alice: Page, sources: Sources) -> None:
    def answer_slowly(route: Route) -> None:
        time.sleep(0.4)  # longer than the interval: this is the slow server itself
        route.continue_()

    with sources.held():
        start_run(alice)
        alice.route("**/log?after=*", answer_slowly)
        expect(alice.locator(".log li[id^=L]").nth(3)).to_be_visible()
    expect(alice.locator("#tail")).to_have_count(0, timeout=40_000)

    numbers = lines_of(alice)
    assert numbers == [f"L{number}" for number in range(1, len(numbers) + 1)]
    alice.unroute("**/log?after=*")
    walks.wait_for_outcome(alice, "Verified")
    alice.reload()
    assert lines_of(alice) == numbers


def test_a_cancelled_run_leaves_nothing(alice: Page, sources: Sources, holdfast: Holdfast) -> None:
    with sources.held():
        run = start_run(alice)
        assert list((holdfast.archives / ".tmp").iterdir())
        alice.get_by_role("link", name="Cancel run…").click()
        dialog = alice.get_by_role("dialog")
        expect(dialog).to_contain_text("earlier restore points stay")
        expect(dialog.get_by_role("link", name="Let it run")).to_be_focused()
        dialog.get_by_role("button", name="Cancel this run").click()

        walks.wait_for_outcome(alice, "Cancelled")

        assert not list((holdfast.archives / ".tmp").iterdir())
        assert not list(holdfast.archives.rglob(f"*_r{run}f*"))
        assert sources.server.sessions() == []
    expect(alice.locator("#run-progress")).to_contain_text("Cancelled by alice.")
    alice.goto("/restore-points")
    expect(alice.locator(f"a[href='/runs/{run}']")).to_have_count(0)


@pytest.mark.parametrize("how", ["error", "abort"])
def test_a_lost_connection_is_told_and_taken_back(how: str, alice: Page, problems: Problems) -> None:
    problems.allow("status of 502|ERR_FAILED|Failed to fetch")

    def lose(route: Route) -> None:
        if "hx-request" not in route.request.headers:
            route.continue_()
        elif how == "abort":
            route.abort()
        else:
            route.fulfill(status=502, body="<h1>Bad gateway</h1>")

    alice.goto("/")
    strip = alice.locator("[data-lost]")
    expect(strip).to_be_hidden()
    alice.route("**/*", lose)
    expect(strip).to_be_visible()
    expect(strip).to_have_text(re.compile(r"^Connection lost\. Last update \d\d:\d\d:\d\d\. Trying again…$"))
    expect(alice.locator("#verdict-t")).to_be_visible()
    expect(alice.get_by_text("Bad gateway")).to_have_count(0)

    alice.unroute("**/*")

    expect(strip).to_be_hidden()


def test_a_tab_that_nobody_sees_does_not_poll(alice: Page) -> None:
    polls = Polls(alice, "/partials/activity")
    alice.goto("/runs")
    expect(alice.locator("#runs")).to_be_visible()
    alice.evaluate("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    alice.wait_for_timeout(500)
    before = polls.count

    alice.wait_for_timeout(4500)

    assert polls.count == before
    alice.evaluate("delete document.hidden")
    with alice.expect_request("**/partials/activity"):
        pass


def test_an_ended_session_leads_to_the_sign_in_and_back(page: Page, holdfast: Holdfast, problems: Problems) -> None:
    problems.allow("status of 401")
    page.goto(f"{holdfast.url}/sign-in")
    sign_in(page, "bob")
    page.goto(f"{holdfast.url}/instances")

    page.context.clear_cookies()

    page.wait_for_url(re.compile("/sign-in"))
    sign_in(page, "bob")
    expect(page).to_have_url(f"{holdfast.url}/instances")


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """The processes stand still; what they were is not known to their parents."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_what_stands_still_is_told_on_the_overview_within_a_minute(alice: Page, holdfast: Holdfast) -> None:
    alice.goto("/")
    verdict: Any = alice.locator("#verdict-t")
    expect(verdict).not_to_contain_text("running")
    usual = verdict.inner_text()
    began = time.monotonic()
    with stopped(holdfast.family("webapp.cli", "scheduler")):
        with stopped(holdfast.family("webapp.cli", "worker")):
            expect(verdict).to_have_text("No worker is running, so nothing is backed up.", timeout=left(began))
            expect(alice.locator("#verdict")).to_have_class("card verdict fail")
        expect(verdict).to_contain_text("The scheduler is not running", timeout=left(began))
    with stopped(holdfast.family("valkey-server")):
        expect(verdict).to_contain_text("Redis", timeout=30_000)
    expect(verdict).to_have_text(usual, timeout=60_000)


def left(began: float) -> float:
    """Milliseconds until it must have been told."""
    return max(1.0, (TOLD_WITHIN_SECONDS - (time.monotonic() - began)) * 1000)
