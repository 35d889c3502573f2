"""The overview's numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flask import Flask

from tests.support.app import Browser, service_context
from tests.support.factories import make_instance
from tests.support.host_pages import SeededHost


def number(page: str, title: str) -> str:
    """What the strip says below a title, in plain text."""
    found = re.search(rf"<dt>{re.escape(title)}</dt>(.*?)</div>", page, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", " ", found[1]).split())


def test_only_what_can_be_restored_for_practice_is_expected_to_be(
    app: Flask, charlie: Browser, host: SeededHost
) -> None:
    only_a_host = charlie.get("/").text
    with service_context(app):
        make_instance(datetime.now(UTC))
    with_a_database = charlie.get("/").text

    assert number(only_a_host, "Restore-tested, 7 days") == "– no databases here"
    assert number(with_a_database, "Restore-tested, 7 days") == "0 / 1 restored for practice"
    assert "/ 2" in number(with_a_database, "Protected")
