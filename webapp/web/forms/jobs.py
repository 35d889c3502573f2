"""The form of a job: what the browser sent becomes a draft."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from webapp.core.cron import BuilderMode
from webapp.core.errors import InvalidInput
from webapp.services.job_rules import JobDraft, read_schedule
from webapp.web.forms.instances import Form, read_names, read_version, warn_of_unknown
from webapp.web.zones import zone_names

__all__ = ["read_job", "read_version", "spread_choices", "with_expression", "zone_choices"]

KEEPING_FIELDS = (
    "retention_mode",
    "retention_value",
    "keep_last",
    "keep_within_days",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
)
TEXT_FIELDS = [
    "name",
    "database_selection",
    "content",
    "format",
    "frequency",
    "cron",
    "every_hours",
    "minute",
    "at",
    "day_of_month",
    "time_zone",
    "spread_seconds",
    "overlap_policy",
    "missed_policy",
    *KEEPING_FIELDS,
    "retention_confirmed",
    "drill_policy",
    "drill_value",
    "drill_checks",
    "verification_level",
    "time_limit_minutes",
    "retries",
    "retry_delay_minutes",
    "paths",
    "rides_with",
]
KNOWN = frozenset(
    {"csrf_token", "version", "then", "enabled", "databases", "weekdays", "job", "instance", *TEXT_FIELDS}
)
FREQUENCIES = (
    (BuilderMode.HOURLY, "Hourly"),
    (BuilderMode.DAILY, "Daily"),
    (BuilderMode.WEEKLY, "Weekly"),
    (BuilderMode.MONTHLY, "Monthly"),
    (BuilderMode.CRON, "Cron"),
)
WEEKDAYS = (
    ("1", "Mo", "Monday"),
    ("2", "Tu", "Tuesday"),
    ("3", "We", "Wednesday"),
    ("4", "Th", "Thursday"),
    ("5", "Fr", "Friday"),
    ("6", "Sa", "Saturday"),
    ("7", "Su", "Sunday"),
)
SPREADS = (
    (0, "No spread"),
    (60, "1 minute"),
    (300, "5 minutes"),
    (900, "15 minutes"),
    (1800, "30 minutes"),
    (3600, "1 hour"),
)


def read_job(form: Form) -> JobDraft:
    """The draft; radio buttons and lists that were not sent keep their defaults."""
    warn_of_unknown(form, KNOWN)
    texts = {name: form[name] for name in TEXT_FIELDS if name in form}
    return JobDraft(
        enabled=form.get("enabled") == "1",
        databases=read_names(form),
        weekdays=tuple(form.getlist("weekdays")),
        **texts,
    )


def with_expression(draft: JobDraft) -> JobDraft:
    """The draft with the expression that its builder parts mean, so that the raw field always shows the truth."""
    if draft.frequency == BuilderMode.CRON.value:
        return draft
    try:
        return replace(draft, cron=read_schedule(draft).expression)
    except InvalidInput:
        return draft


def zone_choices(now: datetime, current: str) -> list[tuple[str, str]]:
    """Every IANA zone with the time there now, the current one first."""
    names = dict.fromkeys([current if current in zone_names() else "UTC", *zone_names()])
    return [(name, f"{name} (now {now.astimezone(ZoneInfo(name)):%H:%M})") for name in names]


def spread_choices(current: str) -> list[tuple[str, str]]:
    """The usual spreads, and the current one when it is another."""
    choices = [(str(seconds), words) for seconds, words in SPREADS]
    if current not in dict(choices) and current.isdigit():
        choices.append((current, f"{current} seconds"))
    return choices
