"""Many hosts at once: what a file would add, looked at before anything is written, then added all or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import InvalidInput
from webapp.core.status import InstanceKind
from webapp.services.drafts import InvalidDraft
from webapp.services.host_rows import taken_directories
from webapp.services.instance_keys import pin_host_key, read_host_key
from webapp.services.instance_rules import InstanceDraft, check_draft
from webapp.services.instances import create_instance
from webapp.services.job_rules import JobDraft, check_job
from webapp.services.jobs import add_job
from webapp.services.schedule import reconcile_job
from webapp.services.settings import AppSettings, change_settings, get_settings
from webapp.store.db import db, writing
from webapp.store.models import Instance

MOST_HOSTS = 1000
LARGEST_FILE = 2 * 1024 * 1024


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
class SettingChange:
    """A default of all hosts that the file would change, for the preview."""

    name: str
    old: Any
    new: Any

    @property
    def in_words(self) -> str:
        """As "bandwidth kib: 700 (was 0)"."""
        label = self.name.removeprefix("host_").replace("_", " ")
        return f"{label}: {_value_in_words(self.new)} (was {_value_in_words(self.old)})"


@dataclass(frozen=True, slots=True)
class HostImport:
    """What a file would add. ``settings``: all settings with the defaults that the file changes, None where it changes none.

    ``dataclasses.replace(found, settings=None)`` leaves the settings as they are.
    """

    rows: tuple[HostRow, ...]
    settings: AppSettings | None = None
    problems: tuple[InvalidInput, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def to_add(self) -> tuple[HostRow, ...]:
        """The rows that are not here yet."""
        return tuple(row for row in self.rows if not row.exists)

    @property
    def all_problems(self) -> tuple[InvalidInput, ...]:
        """Of the file and of its rows, these with their place in front."""
        own = [
            InvalidInput(
                f"{row.where}, {row.name or 'no name'}: {problem.message}", field=problem.field, hint=problem.hint
            )
            for row in self.rows
            for problem in row.problems
        ]
        return (*self.problems, *own)

    @property
    def is_good(self) -> bool:
        """Whether it can be applied: nothing is wrong with any row, and there is at least one thing to do."""
        return not self.all_problems and bool(self.to_add or self.settings is not None)

    @property
    def setting_changes(self) -> tuple[SettingChange, ...]:
        """What it would change in the settings."""
        if self.settings is None:
            return ()
        now_set, wanted = get_settings(), self.settings
        pairs = (
            (field.name, getattr(now_set, field.name), getattr(wanted, field.name)) for field in fields(AppSettings)
        )
        return tuple(SettingChange(*pair) for pair in pairs if pair[1] != pair[2])


def _value_in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, tuple) else str(value)) or "none"


def check_size(text: str) -> None:
    """Refuse a file that nobody has written by hand. Raises InvalidInput."""
    if len(text) > LARGEST_FILE:
        raise InvalidInput("The file is larger than 2 MB.", field="file", hint="Split it.")


def check_rows(rows: Sequence[HostRow], now: datetime) -> tuple[HostRow, ...]:
    """The rows with everything that is wrong with each; names must be free here and unlike each other. Raises InvalidInput."""
    if len(rows) > MOST_HOSTS:
        raise InvalidInput(f"The file has more than {MOST_HOSTS} hosts.", field="file", hint="Split it.")
    kinds = _kinds_by_name()
    seen_names: set[str] = set()
    seen_directories = taken_directories()
    checked = []
    for row in rows:
        key = row.name.strip().lower()
        exists = kinds.get(key) is InstanceKind.HOST
        problems = [*row.problems]
        if not exists:
            problems += _problems_of(row, now)
            problems += _clashes(row, key in kinds, seen_names, seen_directories)
        elif key in seen_names:
            problems.append(_twice(row))
        seen_names.add(key)
        seen_directories.add(row.draft.directory.strip())
        checked.append(replace(row, exists=exists, problems=tuple(problems)))
    return tuple(checked)


def apply_import(found: HostImport, *, actor: Actor, now: datetime) -> list[Instance]:
    """Add all hosts of a preview that are not here yet, with their jobs, and change the settings it carries: all or nothing.

    Each host gets its own new key pair. Raises InvalidInput with the first problem when the preview has any, or when
    something changed since it was made.
    """
    for problem in found.all_problems:
        raise problem
    job_ids: list[int] = []
    added: list[Instance] = []
    with writing():
        if found.settings is not None:
            change_settings(found.settings, actor=actor, now=now)
        for row in found.to_add:
            added.append(_add(row, job_ids, actor=actor, now=now))
    ids = [instance.id for instance in added]
    for job_id in job_ids:
        reconcile_job(job_id, now)
    return _by_ids(ids)


def _add(row: HostRow, job_ids: list[int], *, actor: Actor, now: datetime) -> Instance:
    try:
        instance = create_instance(row.draft, actor=actor, now=now)
        if row.host_key:
            pin_host_key(instance.id, row.host_key, actor=actor, now=now)
        job_ids += [add_job(instance, job, actor=actor, now=now).id for job in row.jobs]
    except InvalidInput as error:
        raise InvalidInput(f"{row.where}, {row.name}: {error.message}", field=error.field, hint=error.hint) from None
    return instance


def _by_ids(ids: list[int]) -> list[Instance]:
    """Read anew: reconciling ended the session that the rows belonged to."""
    query = sa.select(Instance).where(Instance.id.in_(ids)).order_by(Instance.id)
    return list(db.session.scalars(query))


def _problems_of(row: HostRow, now: datetime) -> list[InvalidInput]:
    """What the same checks say that a form has."""
    found: list[InvalidInput] = []
    stand_in = Instance(kind=InstanceKind.HOST, name=row.name, databases=[])
    found += _refusals(lambda: check_draft(row.draft, frozenset()))
    if row.host_key:
        found += _refusals(lambda: read_host_key(row.host_key))
    for job in row.jobs:
        found += _refusals(lambda job=job: check_job(job, stand_in, now))
    return found


def _refusals(check: Any) -> Iterable[InvalidInput]:
    try:
        check()
    except InvalidDraft as error:
        return error.problems
    except InvalidInput as error:
        return [error]
    return []


def _clashes(row: HostRow, is_taken: bool, names: set[str], directories: set[str]) -> list[InvalidInput]:
    found = []
    if is_taken:
        found.append(
            InvalidInput(f"Another instance is called «{row.name}».", field="name", hint="Choose a different name.")
        )
    if row.name.strip() and row.name.strip().lower() in names:
        found.append(_twice(row))
    if (directory := row.draft.directory.strip()) and directory in directories:
        found.append(InvalidInput(f"The folder «{directory}» belongs to another host.", field="directory"))
    return found


def _twice(row: HostRow) -> InvalidInput:
    return InvalidInput(f"«{row.name}» is in the file twice.", field="name", hint="Keep one of them.")


def _kinds_by_name() -> dict[str, InstanceKind]:
    query = sa.select(Instance.name, Instance.kind).where(Instance.deleted_at.is_(None))
    return {name.lower(): kind for name, kind in db.session.execute(query)}
