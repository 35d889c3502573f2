"""What every page of the layout knows, beside what its view gives it. Asked of the database at most once in five seconds."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, url_for

from webapp.services import health, overview
from webapp.services.wiring import wired
from webapp.web import cookies
from webapp.web.access import current_settings, request_time, signed_in


@dataclass(frozen=True, slots=True)
class _Counted:
    """How many instances need attention, as of when; ``by`` tells one installation from another."""

    number: int
    at: datetime
    by: object


class _Problems:
    """The number in the navigation, kept for some seconds: counting looks at every instance."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: _Counted | None = None

    def count(self, now: datetime, counting: Callable[[datetime], int]) -> int:
        """The kept number while it is fresh, else a new one."""
        seconds = float(current_app.config["LAYOUT_KEPT_SECONDS"])
        kept = self.kept if self.kept and self.kept.by is wired() else None
        if kept and 0 <= (now - kept.at).total_seconds() < seconds:
            return kept.number
        if not self.lock.acquire(blocking=kept is None) and kept:
            return kept.number
        try:
            self.kept = kept = _Counted(counting(now), now, wired())
            return kept.number
        finally:
            self.lock.release()


_problems = _Problems()


def set_up(app: Flask) -> None:
    """Attach the context processor, and ``asset`` for templates."""
    app.context_processor(layout_context)
    app.jinja_env.globals["asset"] = asset


def layout_context() -> dict[str, Any]:
    """The names that templates/_layout/ expect. An error page asks nothing of the database, which may be what failed."""
    if g.get("bare_page"):
        return {"theme": cookies.theme(), "version": current_app.config["HOLDFAST_VERSION"]}
    person = signed_in()
    if person is None:
        return {"theme": cookies.theme(), "version": current_app.config["HOLDFAST_VERSION"]}
    now = request_time()
    report = health.glance(now)
    return {
        "app_title": current_settings().title,
        "theme": person.theme,
        "version": current_app.config["HOLDFAST_VERSION"],
        "health_line": report.line,
        "health_ok": report.ready,
        "problem_count": _problems.count(now, overview.count_problems),
        "activity": overview.get_activity(),
    }


def asset(path: str) -> str:
    """The address of a static file with the hash of its content, so that browsers may keep it for good."""
    return url_for("static", filename=path, v=_fingerprint(Path(str(current_app.static_folder)) / path))


@cache
def _fingerprint(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
