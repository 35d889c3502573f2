"""From an instance's row to the engine's source plan: the one place where stored secrets are opened."""

from __future__ import annotations

from webapp.core.errors import InvalidInput
from webapp.core.plans import FilestorePlan, OdooHttpPlan, PostgresPlan, Secret, SourcePlan, SshPlan, TlsPlan
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import FilestoreKind, InstanceKind
from webapp.services.wiring import wired
from webapp.store.models import Instance

SHORTEST_HIDDEN = 8


def secret_context(instance: Instance, field: str) -> str:
    """What a secret is sealed together with, so that it opens in its own row and field only."""
    return f"instance:{instance.uid}:{field}"


def source_plan(instance: Instance) -> SourcePlan:
    """How to reach the instance's databases, as a plain value.

    Raises VaultError (permanent) when a secret cannot be opened, InvalidInput for a host, which has files only.
    """
    if instance.kind is InstanceKind.HOST:
        raise InvalidInput(f"«{instance.name}» is a host: it has files, no databases.")
    if instance.kind is InstanceKind.ODOO_HTTP:
        return _odoo_http_plan(instance)
    return _postgres_plan(instance)


def open_all(instance: Instance) -> None:
    """Open every secret that reaching the instance takes, and forget it. Raises VaultError when one cannot be opened."""
    if instance.kind is InstanceKind.HOST:
        ssh_plan(instance)
    else:
        source_plan(instance)


def secrets_of(plan: SourcePlan | HostPlan) -> list[str]:
    """The secrets in the plan, for the reporter to keep out of what it writes: the other side may send one back.

    Short ones are left out: they are words, such as odoo, and a mark in place of each would only point at them.
    """
    if isinstance(plan, OdooHttpPlan):
        found = [plan.master_password]
    elif isinstance(plan, HostPlan):
        found = [plan.ssh.private_key]
    else:
        hosts = [host for host in (plan.tunnel, plan.filestore.ssh) if host is not None]
        found = [plan.password, *(host.private_key for host in hosts)]
    return [secret.reveal() for secret in found if len(secret.reveal()) >= SHORTEST_HIDDEN]


def ssh_plan(instance: Instance) -> SshPlan | None:
    """The instance's SSH host, or None when it has none."""
    if not instance.ssh_host:
        return None
    return SshPlan(
        host=instance.ssh_host,
        user=instance.ssh_user,
        private_key=_open(instance, "ssh_private_key"),
        host_key=instance.ssh_host_key,
        port=instance.ssh_port,
    )


def _open(instance: Instance, field: str) -> Secret:
    return wired().vault.open(getattr(instance, field), secret_context(instance, field))


def _odoo_http_plan(instance: Instance) -> OdooHttpPlan:
    return OdooHttpPlan(
        url=instance.url,
        master_password=_open(instance, "master_password"),
        host_header=instance.host_header,
        tls=TlsPlan(
            ca_pem=instance.tls_ca_pem,
            fingerprint=instance.tls_fingerprint,
            allow_plain_http=instance.allow_plain_http,
        ),
    )


def _postgres_plan(instance: Instance) -> PostgresPlan:
    is_odoo = instance.kind is InstanceKind.ODOO_POSTGRES
    ssh = ssh_plan(instance)
    filestore = FilestorePlan(FilestoreKind.NONE)
    if is_odoo and instance.filestore_kind is not FilestoreKind.NONE:
        over_ssh = instance.filestore_kind is FilestoreKind.SSH
        filestore = FilestorePlan(instance.filestore_kind, instance.filestore_path, ssh if over_ssh else None)
    return PostgresPlan(
        host=instance.pg_host,
        port=instance.pg_port,
        user=instance.pg_user,
        password=_open(instance, "pg_password"),
        sslmode=instance.pg_sslmode,
        ssl_root_cert_pem=instance.pg_ssl_root_cert,
        maintenance_database=instance.pg_maintenance_database,
        filestore=filestore,
        tunnel=ssh if instance.pg_through_ssh else None,
        is_odoo=is_odoo,
    )
