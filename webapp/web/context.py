"""What every page of the layout knows, beside what its view gives it. Cheap: one small query, or none."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from webapp.services import health
from webapp.web import cookies
from webapp.web.access import current_settings, request_time, signed_in


def set_up(app: Flask) -> None:
    """Attach the context processor."""
    app.context_processor(layout_context)


def layout_context() -> dict[str, Any]:
    """The names that templates/_layout/base.html expects."""
    person = signed_in()
    report = health.glance(request_time()) if person else None
    return {
        "app_title": current_settings().title,
        "theme": person.theme if person else cookies.theme(),
        "version": current_app.config["HOLDFAST_VERSION"],
        "health_line": report.line if report else "",
        "health_ok": report.ready if report else True,
        "problem_count": 0,
    }
