"""What pages show of hosts: reached or not, room for the next snapshot, the newest one and how fast it came. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from webapp.core.errors import InvalidInput
from webapp.services.connection_tests import newest_tests
from webapp.services.fleet import FleetRow, list_fleet
from webapp.services.host_jobs import riding_with
from webapp.services.hosts import EffectiveHost, backup_root_of, effective, get_host, list_hosts
from webapp.services.instance_keys import HostKey, authorized_keys_line, pinned_host_key
from webapp.services.settings import get_settings
from webapp.services.snapshots import RootFacts, newest_of, newest_of_each, root_facts
from webapp.store.models import ConnectionTest, Host, Instance, Job, SnapshotRecord

# Less than this is over before the line shows what it can.
TELLING_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host in the list of hosts. ``pinned``: its key, None where nobody has compared it yet, or it cannot be read."""

    instance: Instance
    host: Host
    fleet: FleetRow
    test: ConnectionTest | None
    pinned: HostKey | None
    newest: SnapshotRecord | None
    root: RootFacts


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What one host's own page adds to that of any instance."""

    host: Host
    effective: EffectiveHost
    pinned: HostKey | None
    authorized_keys: str
    newest: SnapshotRecord | None
    root: RootFacts


@dataclass(frozen=True, slots=True)
class Riding:
    """A host's job that keeps odd ends of an Odoo, and the newest snapshot that it made."""

    job: Job
    newest: SnapshotRecord | None


def list_riding(instance_id: int) -> list[Riding]:
    """The jobs that ride along with an Odoo instance, by name."""
    return [Riding(job, newest_of(job.instance_id, job.id)) for job in riding_with(instance_id)]


def list_host_rows(now: datetime) -> list[HostRow]:
    """All hosts, by name, in about twenty queries whatever their number."""
    found = list_hosts()
    ids, settings = [host.instance_id for host in found], get_settings()
    fleet = {row.instance.id: row for row in list_fleet(now, ids)}
    newest, tests = newest_of_each(ids), newest_tests(ids)
    roots: dict[str, RootFacts] = {}
    rows = []
    for host in found:
        where = backup_root_of(host, settings)
        if where not in roots:
            roots[where] = root_facts(host.instance_id)
        rows.append(
            HostRow(
                instance=host.instance,
                host=host,
                fleet=fleet[host.instance_id],
                test=tests.get(host.instance_id),
                pinned=find_pinned(host.instance),
                newest=newest.get(host.instance_id),
                root=roots[where],
            )
        )
    return rows


def get_host_facts(instance: Instance) -> HostFacts:
    """The facts of a host's page. Raises NotFound for an instance of another kind."""
    host = get_host(instance.id)
    return HostFacts(
        host=host,
        effective=effective(host),
        pinned=find_pinned(instance),
        authorized_keys=authorized_keys_line(instance),
        newest=newest_of(instance.id),
        root=root_facts(instance.id),
    )


def speed_of(record: SnapshotRecord | None) -> float | None:
    """Bytes per second over the wire; None when it is not known, or too little came to tell."""
    if record is None or not record.transfer_seconds or (record.transferred_bytes or 0) < TELLING_BYTES:
        return None
    return (record.transferred_bytes or 0) / record.transfer_seconds


def find_pinned(instance: Instance) -> HostKey | None:
    """The pinned key, None where there is none or a person would have to look."""
    try:
        return pinned_host_key(instance)
    except InvalidInput:
        return None
