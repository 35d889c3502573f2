"""The JSON shapes of hosts and snapshots on the command line, and how a host is named there."""

from __future__ import annotations

import re
from typing import Any

from webapp.commands.base import moment
from webapp.commands.shapes import archive_shape
from webapp.core.errors import Conflict, NotFound
from webapp.core.path_text import path_bytes
from webapp.services import hosts
from webapp.services.instance_keys import authorized_keys_line, pinned_host_key


def get_host_named(text: str, *, by_address: bool = True) -> Any:
    """The host's row by its number, its name or its address. Raises NotFound, Conflict when several are meant."""
    found = hosts.list_hosts()
    wanted = text.strip().lower()
    for matches in (
        lambda host: str(host.instance_id) == wanted,
        lambda host: host.instance.name.lower() == wanted,
        lambda host: by_address and host.instance.ssh_host.lower() == wanted,
    ):
        meant = [host for host in found if matches(host)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            names = ", ".join(f"{host.instance.name} ({host.instance_id})" for host in meant)
            raise Conflict(f"«{text}» means several hosts: {names}.", hint="Use the name or the number.")
    raise NotFound(f"There is no host «{text}».", hint="holdfast host list shows them.")


def host_shape(host: Any) -> dict[str, Any]:
    """A host with what is in force for it, and whose word each value is."""
    instance, found, pinned = host.instance, hosts.effective(host), pinned_host_key(host.instance)
    in_force = {
        name: {"value": _plain(chosen.value), "whose": str(chosen.whose)}
        for name in (
            "backup_root",
            "excludes",
            "one_file_system",
            "bandwidth_kib",
            "rsync_options",
            "shrink_percent",
        )
        for chosen in (getattr(found, name),)
    }
    return {
        "id": instance.id,
        "name": instance.name,
        "address": instance.ssh_host,
        "port": instance.ssh_port,
        "user": instance.ssh_user,
        "directory": host.directory,
        "paths": list(host.paths),
        "includes": list(host.includes),
        "own_excludes": list(host.excludes),
        "sentinel_files": list(host.sentinel_files),
        "accepted_errors": list(host.accepted_errors),
        "in_force": in_force,
        "authorized_keys": authorized_keys_line(instance),
        "host_key": None if pinned is None else {"line": pinned.line, "fingerprint": pinned.fingerprint},
    }


def snapshot_shape(record: Any) -> dict[str, Any]:
    """A snapshot: a restore point, and what makes it a tree."""
    return {
        **archive_shape(record.archive),
        "root": record.root,
        "directory": record.directory,
        "name": record.name,
        "layout": str(record.layout),
        "origin": str(record.archive.origin),
        "base_id": record.base_id,
        "base_name": record.base_name,
        "paths": list(record.paths),
        "file_count": record.file_count,
        "directory_count": record.directory_count,
        "other_count": record.other_count,
        "total_bytes": record.total_bytes,
        "new_files": record.new_files,
        "new_bytes": record.new_bytes,
        "gone_files": record.gone_files,
        "transferred_bytes": record.transferred_bytes,
        "transfer_seconds": record.transfer_seconds,
        "vanished": record.vanished,
        "unreadable": record.unreadable,
        "read_at": moment(record.read_at),
        "compared_at": moment(record.compared_at),
    }


def printable(text: str) -> str:
    """A path for people and JSON, on one line: controls, and bytes that are not UTF-8, are escaped."""
    escaped = path_bytes(text).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", escaped)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
