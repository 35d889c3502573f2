"""SSH keys of instances: our own pair, and the host's key, which a person compares once and which is pinned then."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, InvalidInput, NotFound
from webapp.core.plans import Secret
from webapp.core.status import InstanceKind
from webapp.engine.ssh import generate_key, scan_host_key
from webapp.services import audit
from webapp.store.db import db, release, writing
from webapp.store.models import Instance

# rrsync(1): a reader that stays below the directory named, here all of the host, and never writes.
READ_ONLY = 'restrict,command="rrsync -ro /"'
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key: "type base64", and the fingerprint as ``ssh-keygen -l`` prints it."""

    line: str
    type: str
    fingerprint: str


def new_key_columns(comment: str) -> tuple[Secret, str]:
    """A new pair: the private half, and the public line for authorized_keys."""
    return generate_key(re.sub(r"[^A-Za-z0-9._-]+", "-", f"holdfast-{comment}")[:60])


def pasted_key_columns(private: Secret) -> tuple[Secret, str]:
    """A pasted private key and its public half. Raises InvalidInput for what is no usable key."""
    text = private.reveal().replace("\r\n", "\n").strip() + "\n"
    try:
        if "OPENSSH PRIVATE KEY" in text:
            key = serialization.load_ssh_private_key(text.encode(), password=None)
        else:
            loaded = serialization.load_pem_private_key(text.encode(), password=None)
            key = loaded  # type: ignore[assignment]
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInput(
            "This is not a private key that can be used.",
            field="ssh_private_key",
            hint="Paste the whole file, begin and end lines included, of a key without a passphrase.",
        ) from None
    return Secret(text), public.decode()


def authorized_keys_line(instance: Instance) -> str:
    """What to add on the host: our key, allowed to do what this kind needs, and nothing else.

    A host's may read files through rrsync (part of rsync), no more; others run commands, and reach PostgreSQL where they must.
    """
    options = "restrict,port-forwarding" if instance.pg_through_ssh else "restrict"
    if instance.kind is InstanceKind.HOST:
        options = READ_ONLY
    return f"{options} {instance.ssh_public_key}" if instance.ssh_public_key else ""


def read_host_key(line: str) -> HostKey:
    """A "type base64" pair, with or without host name in front. Raises InvalidInput."""
    words = line.split()
    if len(words) > 2 and words[0] not in KEY_TYPES:
        words = words[1:]
    if len(words) < 2 or words[0] not in KEY_TYPES:
        raise InvalidInput("This is not a host key.", field="host_key", hint="It looks like: ssh-ed25519 AAAAC3Nz…")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("This host key is damaged.", field="host_key") from None
    name = words[0].encode()
    if blob[: 4 + len(name)] != len(name).to_bytes(4, "big") + name:
        raise InvalidInput("This host key is damaged.", field="host_key")
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return HostKey(f"{words[0]} {words[1]}", words[0], f"SHA256:{digest}")


def pinned_host_key(instance: Instance) -> HostKey | None:
    """The key that is pinned, or None."""
    return read_host_key(instance.ssh_host_key) if instance.ssh_host_key else None


def scan(instance_id: int) -> HostKey:
    """What the SSH host shows as its key now; nothing is stored. Raises SourceError when it cannot be reached."""
    instance = _get(instance_id)
    host, port = instance.ssh_host, instance.ssh_port
    if not host:
        raise Conflict("This instance has no SSH host.")
    release()
    return read_host_key(scan_host_key(host, port))


def pin_host_key(instance_id: int, line: str, *, actor: Actor, now: datetime) -> Instance:
    """Pin the key that a person has compared. Raises NotFound, InvalidInput."""
    key = read_host_key(line)
    with writing():
        instance = _get(instance_id)
        instance.ssh_host_key, instance.updated_at = key.line, now
        audit.record(
            actor,
            "instance.host_key_pinned",
            subject_kind="instance",
            subject_id=instance.id,
            subject_name=instance.name,
            details={"host": instance.ssh_host, "type": key.type, "fingerprint": key.fingerprint},
            now=now,
        )
    return instance


def _get(instance_id: int) -> Instance:
    instance = db.session.get(Instance, instance_id, populate_existing=True)
    if instance is None or instance.deleted_at is not None:
        raise NotFound(f"There is no instance {instance_id}.")
    return instance
