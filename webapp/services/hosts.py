"""Hosts: what each one is set to, what the settings say where it says nothing, and the plan that the engine gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from webapp.core.errors import InvalidInput, NotFound
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import InstanceKind
from webapp.services.host_rules import leaves_out
from webapp.services.instance_plans import ssh_plan
from webapp.services.instances import get_instance
from webapp.services.settings import AppSettings, get_settings
from webapp.services.wiring import wired
from webapp.store.db import db
from webapp.store.models import Host, Instance, Job

Value = TypeVar("Value")

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Whose(StrEnum):
    """Who decided a value: the host itself, the settings of the installation, or both of them together."""

    OWN = "own"
    DEFAULT = "default"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Value]):
    """A value in force and whose it is."""

    value: Value
    whose: Whose

    @property
    def is_own(self) -> bool:
        """Whether the host says so itself, wholly or in part."""
        return self.whose is not Whose.DEFAULT


@dataclass(frozen=True, slots=True)
class EffectiveHost:
    """What is in force for a host, for its page and its plan. ``excludes``: the settings' own first, then the host's."""

    backup_root: Chosen[str]
    excludes: Chosen[tuple[str, ...]]
    one_file_system: Chosen[bool]
    bandwidth_kib: Chosen[int]
    rsync_options: Chosen[tuple[str, ...]]
    shrink_percent: Chosen[int]


def get_host(instance_id: int) -> Host:
    """The host's row as it is now. Raises NotFound: no such instance, deleted, or of another kind."""
    instance = get_instance(instance_id)
    host = find_host(instance)
    if host is None:
        raise NotFound(f"«{instance.name}» is no host.")
    return host


def find_host(instance: Instance) -> Host | None:
    """The host's row of an instance, a deleted one's too; None for other kinds."""
    return db.session.get(Host, instance.id, populate_existing=True)


def list_hosts() -> list[Host]:
    """All hosts that are not deleted, by name."""
    query = sa.select(Host).join(Instance).where(Instance.deleted_at.is_(None), Instance.kind == InstanceKind.HOST)
    query = query.options(contains_eager(Host.instance))
    return list(db.session.scalars(query.order_by(sa.func.lower(Instance.name), Instance.id)))


def default_backup_root(settings: AppSettings | None = None) -> str:
    """Where snapshots go that say nothing else: the setting, or ``snapshots`` in the data directory."""
    found = settings if settings is not None else get_settings()
    return found.backup_root or str(wired().data_directory / "snapshots")


def backup_root_of(host: Host, settings: AppSettings | None = None) -> str:
    """The absolute directory below which this host's new snapshots lie; who asks for many gives the ``settings``."""
    return host.backup_root or default_backup_root(settings)


def effective(host: Host) -> EffectiveHost:
    """What is in force for the host, and whether the host or the settings say so."""
    settings = get_settings()
    root = default_backup_root(settings)
    return EffectiveHost(
        backup_root=_chosen(host.backup_root or None, root),
        excludes=_excludes(host, settings),
        one_file_system=_chosen(host.one_file_system, settings.host_one_file_system),
        bandwidth_kib=_chosen(host.bandwidth_kib, settings.host_bandwidth_kib),
        rsync_options=_chosen(
            None if host.rsync_options is None else tuple(host.rsync_options), settings.host_rsync_options
        ),
        shrink_percent=_chosen(host.shrink_percent, settings.host_shrink_percent),
    )


def host_plan(instance: Instance, job: Job | None = None) -> HostPlan:
    """What the engine needs to reach the host and take its files; of ``job`` only the paths it takes, where it names any.

    Raises InvalidInput (no host, or it is gone), VaultError (permanent) when its key cannot be opened.
    """
    host = find_host(instance)
    ssh = ssh_plan(instance)
    if host is None or ssh is None or instance.deleted_at is not None:
        raise InvalidInput(f"«{instance.name}» is no host whose files could be taken.")
    found = effective(host)
    paths = tuple(job.paths if job is not None and job.paths else host.paths)
    return HostPlan(
        ssh=ssh,
        paths=paths,
        includes=tuple(host.includes),
        excludes=tuple(
            pattern
            for pattern in (*_own_root(instance, found.backup_root.value), *found.excludes.value)
            if not _hides(pattern, paths)
        ),
        one_file_system=found.one_file_system.value,
        bandwidth_kib=found.bandwidth_kib.value,
        options=found.rsync_options.value,
        sentinel_files=_sentinels(host, job),
        accepted_errors=tuple(host.accepted_errors),
    )


def _chosen(own: Value | None, default: Value) -> Chosen[Value]:
    return Chosen(default, Whose.DEFAULT) if own is None else Chosen(own, Whose.OWN)


def _sentinels(host: Host, job: Job | None) -> tuple[str, ...]:
    """The files that must be there; of a job with paths of its own those below them, since others cannot come with it."""
    if job is None or not job.paths:
        return tuple(host.sentinel_files)
    tops = [f"{path.rstrip('/')}/" for path in job.paths]
    return tuple(path for path in host.sentinel_files if any(f"{path}/".startswith(top) for top in tops))


def _hides(pattern: str, paths: tuple[str, ...]) -> bool:
    """Whether a general exclude, such as /mnt/*, would leave out what is named to be taken: then it has no say."""
    return any(leaves_out(pattern, path) for path in paths)


def _own_root(instance: Instance, root: str) -> tuple[str, ...]:
    """A snapshot of this machine takes no snapshots: each would hold all before it."""
    if instance.ssh_host.lower() not in LOOPBACK:
        return ()
    return (re.sub(r"([\\*?\[])", r"\\\1", root) + "/",)


def _excludes(host: Host, settings: AppSettings) -> Chosen[tuple[str, ...]]:
    if host.own_excludes_only:
        return Chosen(tuple(host.excludes), Whose.OWN)
    both = tuple(dict.fromkeys([*settings.host_excludes, *host.excludes]))
    return Chosen(both, Whose.BOTH if host.excludes else Whose.DEFAULT)
