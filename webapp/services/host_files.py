"""Hosts from files and into files: a CSV of many, and the configuration of all as YAML. No secret is in either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from webapp.core.actors import Actor
from webapp.core.errors import InvalidInput
from webapp.services.instance_rules import InstanceDraft
from webapp.services.job_drafts import JobDraft
from webapp.services.settings import AppSettings
from webapp.store.models import Instance

CSV_COLUMNS = (
    "name", "address", "port", "user", "paths", "includes", "excludes", "customer", "tags", "notes", "host_key",
    "cron", "time_zone", "keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host of a file, read and checked; it can be added when ``problems`` is empty.

    Attributes:
        where: Where in the file it stands: "line 3", "hosts[2]", "config/hosts/web.yaml".
        jobs: What its schedules become.
        exists: A host of this name is here already: it is left as it is (a problem in a CSV).
        problems: Sentences with their fields, each with a hint where there is one.
        notes: What of the file means nothing here and is left out, as sentences.
    """

    where: str
    name: str
    draft: InstanceDraft
    host_key: str = ""
    jobs: tuple[JobDraft, ...] = ()
    exists: bool = False
    problems: tuple[InvalidInput, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostImport:
    """What a file would add. ``settings``: the defaults it carries for all hosts, None where it has none."""

    rows: tuple[HostRow, ...]
    settings: AppSettings | None = None
    problems: tuple[InvalidInput, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it can be applied: nothing is wrong with any row, and there is at least one thing to do."""
        raise NotImplementedError


def csv_template() -> str:
    """A CSV with the heading line and one example, to fill in."""
    raise NotImplementedError


def read_csv(text: str, now: datetime) -> HostImport:
    """The preview of a CSV: nothing is written. Raises InvalidInput when it is no CSV with a heading line."""
    raise NotImplementedError


def export_yaml() -> str:
    """The settings of hosts, all hosts, their jobs with schedules and retention, as one YAML text; no secret in it."""
    raise NotImplementedError


def read_yaml(text: str, now: datetime) -> HostImport:
    """The preview of a YAML that ``export_yaml`` wrote; nothing is written. Raises InvalidInput when it is none."""
    raise NotImplementedError


def read_prefix(prefix: Path, now: datetime) -> HostImport:
    """The preview of a pobsync installation's files (``config/global.yaml``, ``config/hosts/*.yaml``); nothing is written."""
    raise NotImplementedError


def apply_import(found: HostImport, *, actor: Actor, now: datetime) -> list[Instance]:
    """Add all hosts of a preview that are not here yet, with their jobs, and change the settings it carries: all or nothing.

    Each host gets its own new key pair. Raises InvalidInput with the first problem when the preview has any.
    """
    raise NotImplementedError
