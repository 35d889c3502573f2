"""The draft of a job: what a form, the shell or the API gives, and what is stored, as text and not yet checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from webapp.core.cron import BuilderMode, BuilderState, detect
from webapp.core.retention_rules import RULE_NAMES
from webapp.core.status import (
    ArchiveFormat,
    Content,
    DrillPolicy,
    InstanceKind,
    MissedPolicy,
    OverlapPolicy,
    RetentionMode,
    VerificationLevel,
)
from webapp.services.settings import get_settings
from webapp.store.models import Instance, Job


@dataclass(frozen=True, slots=True)
class JobDraft:
    """What a person typed, not yet checked. ``database_selection`` "": as the instance says.

    The ``keep_…`` rules count in the retention mode *rules*; "" and "0" leave one out. ``retention_confirmed`` is the digest
    of a plan that a person agreed to although much goes. ``drill_checks`` has one question a line: ``SELECT … => answer``.
    ``paths`` (one a line, "" for all that the host names) and ``rides_with`` (the id of an Odoo instance, or "") count for
    a host's job; its ``drill_…`` fields say when a snapshot is read again from beginning to end.
    ``frequency`` is the builder's face; only the parts that it shows count. "cron" takes ``cron`` as it is.
    """

    name: str = ""
    enabled: bool = True
    database_selection: str = ""
    databases: tuple[str, ...] = ()
    content: str = Content.DATABASE_AND_FILESTORE.value
    format: str = ArchiveFormat.ZIP.value
    frequency: str = BuilderMode.CRON.value
    cron: str = ""
    every_hours: str = "1"
    minute: str = "0"
    at: str = "02:30"
    weekdays: tuple[str, ...] = ()
    day_of_month: str = "1"
    time_zone: str = "UTC"
    spread_seconds: str = "0"
    overlap_policy: str = OverlapPolicy.SKIP.value
    missed_policy: str = MissedPolicy.CATCH_UP.value
    retention_mode: str = RetentionMode.KEEP_LAST_N.value
    retention_value: str = "7"
    keep_last: str = ""
    keep_within_days: str = ""
    keep_hourly: str = ""
    keep_daily: str = ""
    keep_weekly: str = ""
    keep_monthly: str = ""
    keep_yearly: str = ""
    retention_confirmed: str = ""
    drill_policy: str = DrillPolicy.NEVER.value
    drill_value: str = "7"
    drill_checks: str = ""
    verification_level: str = VerificationLevel.COMPLETE.value
    time_limit_minutes: str = "360"
    retries: str = "2"
    retry_delay_minutes: str = "5"
    paths: str = ""
    rides_with: str = ""


# A host's job to begin with: it keeps what rsync snapshots usually keep, since unchanged files cost nothing.
HOST_DRAFT = JobDraft(
    name="Nightly snapshot",
    content=Content.FILES.value,
    format=ArchiveFormat.SNAPSHOT.value,
    frequency=BuilderMode.DAILY.value,
    cron="30 2 * * *",
    retention_mode=RetentionMode.RULES.value,
    keep_daily="14",
    keep_weekly="8",
    keep_monthly="12",
    drill_policy=DrillPolicy.SCHEDULED.value,
    drill_value="7",
    verification_level=VerificationLevel.INTACT.value,
)


def draft_of(job: Job) -> JobDraft:
    """The stored values as a draft, for the editor: the builder shows exactly the schedule that is stored."""
    state = detect(job.cron)
    return JobDraft(
        name=job.name,
        enabled=job.enabled,
        database_selection=job.database_selection.value if job.database_selection else "",
        databases=tuple(job.databases),
        content=job.content.value,
        format=job.format.value,
        **_builder_values(state, job.cron),
        time_zone=job.time_zone,
        spread_seconds=str(job.spread_seconds),
        overlap_policy=job.overlap_policy.value,
        missed_policy=job.missed_policy.value,
        retention_mode=job.retention_mode.value,
        retention_value=str(job.retention_value),
        **_keeping_values(job),
        verification_level=job.verification_level.value,
        time_limit_minutes=str(job.time_limit_seconds // 60),
        retries=str(job.retries),
        retry_delay_minutes=str(job.retry_delay_seconds // 60),
        paths="\n".join(job.paths),
        rides_with="" if job.rides_with_id is None else str(job.rides_with_id),
    )


def _keeping_values(job: Job) -> dict[str, Any]:
    rules = {f"keep_{name}": str(job.retention_rules[name]) for name in RULE_NAMES if name in job.retention_rules}
    questions = "\n".join(f"{check['query']} => {check['expected']}" for check in job.drill_checks)
    drills = {"drill_policy": job.drill_policy.value, "drill_value": str(job.drill_value), "drill_checks": questions}
    return {**rules, **drills}


def new_draft(instance: Instance) -> JobDraft:
    """A job to begin with: nightly, with the defaults of the settings."""
    settings = get_settings()
    only_database = instance.kind is InstanceKind.POSTGRES
    if instance.kind is InstanceKind.HOST:
        return replace(HOST_DRAFT, time_zone=settings.time_zone, spread_seconds=str(settings.spread_seconds))
    return JobDraft(
        name="Nightly backup",
        content=(Content.DATABASE if only_database else Content.DATABASE_AND_FILESTORE).value,
        frequency=BuilderMode.DAILY.value,
        cron="30 2 * * *",
        time_zone=settings.time_zone,
        spread_seconds=str(settings.spread_seconds),
        retention_mode=settings.retention_mode.value,
        retention_value=str(settings.retention_value),
        verification_level=settings.verification_level.value,
    )


def _builder_values(state: BuilderState, expression: str) -> dict[str, Any]:
    return {
        "frequency": state.mode.value,
        "cron": expression,
        "every_hours": str(state.every_hours),
        "minute": str(state.minute),
        "at": f"{state.hour:02d}:{state.minute:02d}",
        "weekdays": tuple(str(day) for day in state.weekdays),
        "day_of_month": str(state.day_of_month),
    }
