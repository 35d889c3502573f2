"""Filters, icons, charts and the delivery of pages in parts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask, Response, g, render_template_string

from webapp.web import charts, filters, htmx
from webapp.web.icons import build_icon

AT = datetime(2026, 11, 22, 1, 30, 4, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 9, 42, tzinfo=UTC)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def page(app: Flask):
    with app.test_request_context("/"):
        g.request_time = NOW
        yield app


def test_what_is_not_known_is_a_dash() -> None:
    assert {filters.size(None), filters.duration(None), filters.count(None), filters.ago(None)} == {"–"}
    assert filters.when(None) == "–"


def test_sizes_counts_and_durations_read_as_people_write_them() -> None:
    assert filters.size(5_020_000_000) == "5.02\N{NO-BREAK SPACE}GB"
    assert filters.count(412001) == "412\N{NARROW NO-BREAK SPACE}001"
    assert filters.duration(461) == "7 min 41 s"


def test_an_absolute_time_names_its_zone() -> None:
    assert filters.when(AT, "Europe/Brussels") == "22 Nov 2026, 02:30:04 CET"


def test_an_unknown_zone_is_read_as_utc() -> None:
    assert filters.when(AT, "Mars/Olympus") == "22 Nov 2026, 01:30:04 UTC"


def test_a_relative_time_counts_from_the_time_of_the_request(page: Flask) -> None:
    assert filters.ago(AT) == "8 h ago"


def test_a_short_time_has_its_year_when_it_is_another_one(page: Flask) -> None:
    assert filters.day(AT, "UTC") == "Sun 22 Nov, 01:30"
    assert filters.day(AT.replace(year=2024), "UTC") == "22 Nov 2024, 01:30"


@pytest.mark.parametrize(
    ("stored", "said"),
    [("manual:alice", "By alice"), ("scheduled", "Schedule"), ("api:bob", "API, bob"), ("retry", "retry")],
)
def test_who_started_a_task_is_said_in_words(stored: str, said: str) -> None:
    assert filters.trigger(stored) == said


def test_polling_is_scaled_by_the_setting(page: Flask) -> None:
    page.config["UI_POLL_SCALE"] = 1
    assert filters.poll(3) == "every 3s"
    page.config["UI_POLL_SCALE"] = 0.1
    assert filters.poll(3) == "every 300ms"


def test_a_time_on_a_page_is_relative_with_the_absolute_one_at_hand(page: Flask) -> None:
    drawn = render_template_string("{{ ui.ago(at) }}", at=AT)

    assert drawn == ('<time datetime="2026-11-22T01:30:04Z" data-rel title="22 Nov 2026, 01:30:04 UTC">8 h ago</time>')


def test_foreign_words_are_escaped_everywhere(page: Flask) -> None:
    evil = '"><script>alert(1)</script>'
    text = (
        "{{ ui.tag(x) }}{{ ui.pill(x) }}{{ ui.copy(x) }}{{ ui.cmd(x) }}{{ ui.note('ok', x, x) }}{{ ui.kv([(x, x)]) }}"
    )

    drawn = render_template_string(text, x=evil)

    assert "<script>" not in drawn
    assert drawn.count("&lt;script&gt;") >= 8


def test_an_icon_is_inline_and_hidden_from_screen_readers(page: Flask) -> None:
    drawn = render_template_string("{{ icon('play', 'spin') }}")

    assert drawn.startswith('<svg class="ico spin"')
    assert 'aria-hidden="true"' in drawn


def test_an_unknown_icon_says_where_icons_come_from(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"MANIFEST\.json"):
        build_icon(tmp_path)("nothing")


def test_a_page_is_delivered_whole_or_in_part_from_one_template(app: Flask) -> None:
    def ask(path: str, **headers: str) -> Response:
        with app.test_request_context(path, headers=headers):
            error = {"status": 404, "title": "Gone", "message": "", "hint": "", "request_id": ""}
            return htmx.page_or_partial("errors/error.html", "main", error=error)

    whole, part = ask("/?_b=main"), ask("/?_b=main", **HTMX)

    assert "<!doctype html>" in whole.get_data(as_text=True)
    assert "<!doctype html>" not in part.get_data(as_text=True)
    assert "Gone" in part.get_data(as_text=True)
    assert "HX-Request" in whole.headers["Vary"]
    assert part.headers["Cache-Control"] == "no-store"


def test_a_block_that_the_view_does_not_offer_is_the_whole_page(app: Flask) -> None:
    with app.test_request_context("/?_b=title", headers=HTMX):
        error = {"status": 404, "title": "Gone", "message": "", "hint": "", "request_id": ""}
        response = htmx.page_or_partial("errors/error.html", "main", error=error)

    assert "<!doctype html>" in response.get_data(as_text=True)


def test_after_a_post_the_browser_is_led_on_with_and_without_htmx(app: Flask) -> None:
    with app.test_request_context("/"):
        plain = app.make_response(htmx.see_other("/runs/7"))
    with app.test_request_context("/", headers=HTMX):
        moved = app.make_response(htmx.see_other("/runs/7"))
        left = app.make_response(htmx.leave_page("/sign-in"))

    assert (plain.status_code, plain.headers["Location"]) == (303, "/runs/7")
    assert (moved.status_code, moved.headers["HX-Redirect"]) == (200, "/runs/7")
    assert (left.status_code, left.headers["HX-Redirect"]) == (401, "/sign-in")


def test_a_spark_of_one_size_is_flat() -> None:
    shape = charts.spark([5, 5])

    assert shape.points == "2.0,14.0 80.0,14.0"


def test_an_area_has_a_round_top_above_its_highest_sum() -> None:
    shape = charts.area([[1e9, 2e9], [3e9, 4e9]])

    assert shape.ticks[0] == 1e10
    assert shape.ticks[-1] == 0
    assert len(shape.lines) == len(shape.fills) == 2
