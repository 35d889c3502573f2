"""The configuration of all hosts as YAML: to look at, to keep under version control, to move to another Holdfast."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.cron import BuilderMode
from webapp.core.errors import InvalidInput
from webapp.core.retention_rules import RULE_NAMES
from webapp.core.status import InstanceKind, JobKind, RetentionMode
from webapp.services.host_imports import HostImport, HostRow, check_rows, check_size
from webapp.services.hosts import list_hosts
from webapp.services.instance_rules import InstanceDraft
from webapp.services.job_drafts import HOST_DRAFT, JobDraft
from webapp.services.jobs import list_jobs
from webapp.services.settings import AppSettings, check_settings, get_settings
from webapp.services.yaml_text import as_lines, as_list, as_mapping, as_text, read_mapping, write_mapping
from webapp.store.db import db
from webapp.store.models import Host, Instance, Job

FORMAT = "holdfast-hosts"
VERSION = 1
# The file's word for each setting, and the setting's own.
SETTINGS = {
    "backup_root": "backup_root",
    "excludes": "host_excludes",
    "one_file_system": "host_one_file_system",
    "bandwidth_kib": "host_bandwidth_kib",
    "rsync_options": "host_rsync_options",
    "shrink_percent": "host_shrink_percent",
}
# Words of a host that are the draft's own, by their form.
TEXTS = ("name", "customer", "notes", "backup_root", "directory", "target_age_hours")
LISTS = ("paths", "includes", "excludes", "sentinel_files", "accepted_errors")
PERHAPS = ("one_file_system", "bandwidth_kib", "shrink_percent")
HOST_WORDS = frozenset(
    {
        *TEXTS,
        *LISTS,
        *PERHAPS,
        "address",
        "port",
        "user",
        "tags",
        "host_key",
        "own_excludes_only",
        "rsync_options",
        "jobs",
    }
)
JOB_TEXTS = (
    *("name", "cron", "time_zone", "spread_seconds", "overlap_policy", "missed_policy"),
    *("time_limit_minutes", "retries", "retry_delay_minutes"),
)
JOB_WORDS = frozenset({*JOB_TEXTS, "enabled", "paths", "rides_with", "retention", "read_again"})
RETENTION_WORDS = frozenset({"mode", "value", "keep"})
READ_WORDS = frozenset({"policy", "value"})
HEADING = (
    "# Hosts of Holdfast, their jobs, and the defaults of all hosts. No private key is in here: each host that is added\n"
    "# from this file gets a new one. The host_key lines are public, and pinned when they are read.\n"
)


def export_yaml() -> str:
    """The settings of hosts, all hosts, their jobs with schedules and retention, as one YAML text; no secret in it."""
    settings = get_settings()
    data = {
        "format": FORMAT,
        "version": VERSION,
        "settings": {word: _plain(getattr(settings, name)) for word, name in SETTINGS.items()},
        "hosts": [_host_data(host) for host in list_hosts()],
    }
    return HEADING + write_mapping(data)


def read_yaml(text: str, now: datetime) -> HostImport:
    """The preview of a YAML that ``export_yaml`` wrote; nothing is written. Raises InvalidInput when it is none."""
    check_size(text)
    data = read_mapping(text, "The file")
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise InvalidInput(
            "The file is none that Holdfast wrote for hosts, or one of a newer version.",
            field="file",
            hint=f"It begins with «format: {FORMAT}» and «version: {VERSION}».",
        )
    settings, problems = _read_settings(as_mapping(data.get("settings")))
    odoos = _ids_by_name()
    rows = [
        _read_host(as_mapping(item), f"hosts[{number}]", odoos)
        for number, item in enumerate(as_list(data.get("hosts")))
    ]
    strangers = sorted(set(data) - {"format", "version", "settings", "hosts"})
    notes = (f"Left out: {', '.join(strangers)[:200]}.",) if strangers else ()
    return HostImport(check_rows(rows, now), settings=settings, problems=problems, notes=notes)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _host_data(host: Host) -> dict[str, Any]:
    instance = host.instance
    jobs = [_job_data(job) for job in list_jobs(instance.id) if job.kind is JobKind.BACKUP]
    return {
        "name": instance.name,
        "address": instance.ssh_host,
        "port": instance.ssh_port,
        "user": instance.ssh_user,
        "host_key": instance.ssh_host_key,
        "customer": instance.customer,
        "tags": list(instance.tags),
        "notes": instance.notes,
        "target_age_hours": instance.target_age_hours,
        "backup_root": host.backup_root,
        "directory": host.directory,
        **{word: list(getattr(host, word)) for word in LISTS},
        "own_excludes_only": host.own_excludes_only,
        **{word: getattr(host, word) for word in PERHAPS},
        "rsync_options": None if host.rsync_options is None else list(host.rsync_options),
        "jobs": jobs,
    }


def _job_data(job: Job) -> dict[str, Any]:
    rides_with = db.session.get(Instance, job.rides_with_id) if job.rides_with_id is not None else None
    keep = {name: job.retention_rules[name] for name in RULE_NAMES if name in job.retention_rules}
    by_rules = job.retention_mode is RetentionMode.RULES
    return {
        "name": job.name,
        "enabled": job.enabled,
        "cron": job.cron,
        "time_zone": job.time_zone,
        "paths": list(job.paths),
        "rides_with": rides_with.name if rides_with is not None and rides_with.deleted_at is None else None,
        "retention": {
            "mode": job.retention_mode.value,
            **({"keep": keep} if by_rules else {"value": job.retention_value}),
        },
        "read_again": {"policy": job.drill_policy.value, "value": job.drill_value},
        "spread_seconds": job.spread_seconds,
        "overlap_policy": job.overlap_policy.value,
        "missed_policy": job.missed_policy.value,
        "time_limit_minutes": job.time_limit_seconds // 60,
        "retries": job.retries,
        "retry_delay_minutes": job.retry_delay_seconds // 60,
    }


def _read_settings(data: Mapping[str, Any]) -> tuple[AppSettings | None, tuple[InvalidInput, ...]]:
    """All settings with those of the file; None where nothing differs."""
    unknown = sorted(set(data) - set(SETTINGS))
    if unknown:
        return None, (InvalidInput(f"settings: «{unknown[0][:40]}» is no word of this file.", field="file"),)
    now_set = get_settings()
    try:
        values = {SETTINGS[word]: _setting(word, value, now_set) for word, value in data.items() if value is not None}
        wanted = check_settings(replace(now_set, **values))
    except InvalidInput as error:
        return None, (InvalidInput(f"settings: {error.message}", field=error.field, hint=error.hint),)
    return (wanted if wanted != now_set else None), ()


def _setting(word: str, value: Any, now_set: AppSettings) -> Any:
    """The value in the form that the setting has. Raises InvalidInput."""
    kind = type(getattr(now_set, SETTINGS[word]))
    if kind is tuple:
        return tuple(as_text(item) for item in as_list(value))
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", str: "text"}
        raise InvalidInput(f"{word} must be {words[kind]}.", field=SETTINGS[word])
    return value


def _read_host(data: Mapping[str, Any], where: str, odoos: Mapping[str, int]) -> HostRow:
    options = data.get("rsync_options")
    draft = InstanceDraft(
        kind=InstanceKind.HOST.value,
        ssh_host=as_text(data.get("address")),
        ssh_port=as_text(data.get("port")) or "22",
        ssh_user=as_text(data.get("user")),
        tags=" ".join(as_text(tag) for tag in as_list(data.get("tags"))),
        own_excludes_only=data.get("own_excludes_only") is True,
        own_rsync_options=options is not None,
        rsync_options=shlex.join(as_text(option) for option in as_list(options)),
        **{word: as_text(data[word]) for word in (*TEXTS, *PERHAPS) if data.get(word) is not None},  # type: ignore[arg-type]
        **{word: as_lines(data.get(word)) for word in LISTS},  # type: ignore[arg-type]
    )
    jobs = [as_mapping(job) for job in as_list(data.get("jobs"))]
    problems = [*_strangers(data, HOST_WORDS, where), *_flags(data, ("own_excludes_only",), where)]
    for number, job in enumerate(jobs):
        place = f"jobs[{number}]"
        problems += [*_strangers_of_job(job, place), *_flags(job, ("enabled",), place), *_rider(job, odoos, place)]
    return HostRow(
        where=where,
        name=draft.name,
        draft=draft,
        host_key=as_text(data.get("host_key")),
        jobs=tuple(_read_job(job, odoos) for job in jobs),
        problems=tuple(problems),
    )


def _read_job(data: Mapping[str, Any], odoos: Mapping[str, int]) -> JobDraft:
    retention, again = as_mapping(data.get("retention")), as_mapping(data.get("read_again"))
    keep = as_mapping(retention.get("keep"))
    kept: dict[str, Any] = {f"keep_{name}": as_text(keep.get(name)) for name in RULE_NAMES} if retention else {}
    texts: dict[str, Any] = {word: as_text(data[word]) for word in JOB_TEXTS if data.get(word) is not None}
    rider = odoos.get(as_text(data.get("rides_with")).lower())
    return replace(
        HOST_DRAFT,
        frequency=BuilderMode.CRON.value,
        enabled=data.get("enabled") is not False,
        paths=as_lines(data.get("paths")),
        rides_with="" if rider is None else str(rider),
        retention_mode=as_text(retention.get("mode")) or HOST_DRAFT.retention_mode,
        retention_value=as_text(retention.get("value")) or HOST_DRAFT.retention_value,
        drill_policy=as_text(again.get("policy")) or HOST_DRAFT.drill_policy,
        drill_value=as_text(again.get("value")) or HOST_DRAFT.drill_value,
        **kept,
        **texts,
    )


def _strangers(data: Mapping[str, Any], words: frozenset[str], where: str) -> Sequence[InvalidInput]:
    """A word that is not known is a slip of the pen: what it was to say would be lost in silence."""
    unknown = sorted(set(data) - words)
    return [InvalidInput(f"{where}: «{word[:40]}» is no word of this file.", field="file") for word in unknown[:5]]


def _strangers_of_job(job: Mapping[str, Any], where: str) -> Iterator[InvalidInput]:
    """The same in what it holds: of a rule that is misspelt, less would be kept than was meant."""
    retention = as_mapping(job.get("retention"))
    yield from _strangers(job, JOB_WORDS, where)
    yield from _strangers(retention, RETENTION_WORDS, f"{where}.retention")
    yield from _strangers(as_mapping(retention.get("keep")), frozenset(RULE_NAMES), f"{where}.retention.keep")
    yield from _strangers(as_mapping(job.get("read_again")), READ_WORDS, f"{where}.read_again")
    for word in ("retention", "read_again"):
        if job.get(word) is not None and not isinstance(job[word], dict):
            yield InvalidInput(f"{where}: {word} must be named values.", field="file")


def _flags(data: Mapping[str, Any], words: Sequence[str], where: str) -> Sequence[InvalidInput]:
    wrong = [word for word in words if data.get(word) is not None and not isinstance(data[word], bool)]
    return [InvalidInput(f"{where}: {word} must be true or false.", field="file") for word in wrong]


def _rider(job: Mapping[str, Any], odoos: Mapping[str, int], where: str) -> Sequence[InvalidInput]:
    name = as_text(job.get("rides_with"))
    if not name or name.lower() in odoos:
        return []
    return [
        InvalidInput(f"{where}: there is no Odoo instance «{name[:60]}».", hint="Add it first, or take rides_with out.")
    ]


def _ids_by_name() -> dict[str, int]:
    query = sa.select(Instance.name, Instance.id).where(Instance.deleted_at.is_(None))
    return {name.lower(): found for name, found in db.session.execute(query)}
