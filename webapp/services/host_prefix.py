"""Hosts from the files of a pobsync installation: a help for moving house, tolerant of what differs between versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from webapp.core.cron import BuilderMode
from webapp.core.errors import InvalidInput
from webapp.core.rsync_options import check_options
from webapp.core.status import InstanceKind
from webapp.services.host_imports import LARGEST_FILE, HostImport, HostRow, check_rows
from webapp.services.host_rules import NO, YES
from webapp.services.instance_rules import InstanceDraft
from webapp.services.job_drafts import HOST_DRAFT, JobDraft
from webapp.services.settings import get_settings
from webapp.services.yaml_text import as_lines, as_list, as_mapping, as_text, read_mapping

GLOBALS = ("config/global.yaml", "config/global.yml", "global.yaml", "global.yml")
HOST_FOLDERS = ("config/hosts", "hosts")
KEEPS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
# The words that a thing may go by, in the order of preference; a dot goes one level down.
WORDS = {
    "name": ("host", "name", "hostname"),
    "address": ("address", "ssh.host", "ssh.address"),
    "user": ("ssh.user", "user", "ssh_user"),
    "port": ("ssh.port", "port", "ssh_port"),
    "backup_root": ("backup_root",),
    "paths": ("source_root", "defaults.source_root", "paths", "sources"),
    "includes": ("includes", "include", "includes_default", "defaults.include"),
    "excludes": ("excludes", "exclude", "excludes_default", "defaults.exclude"),
    "more_excludes": ("excludes_add", "extra_excludes"),
    "only_excludes": ("excludes_replace",),
    "options": ("rsync.args", "rsync_args", "rsync.args_default"),
    "more_options": ("rsync.extra_args", "rsync_extra_args"),
    "bandwidth": ("rsync.bwlimit", "rsync.bwlimit_kbps", "bwlimit", "bandwidth_kib"),
    "one_file_system": ("one_file_system", "rsync.one_file_system"),
    "cron": ("schedule.cron", "cron", "schedule"),
    "enabled": ("schedule.enabled", "enabled"),
    "retention": ("retention", "schedule.retention", "retention_defaults"),
}


class _Config:
    """A host's file before the global one; remembers which words were understood."""

    def __init__(self, own: Mapping[str, Any], common: Mapping[str, Any]) -> None:
        self.own, self.common = own, common
        self.used: set[str] = set()

    def get(self, thing: str, *, own_only: bool = False) -> Any:
        """The value of a thing, the host's own first; None when neither file has it."""
        for data in (self.own,) if own_only else (self.own, self.common):
            for word in WORDS[thing]:
                value = _dig(data, word)
                if value is not None and not (thing == "cron" and isinstance(value, dict)):
                    self.used.add(word)
                    return value
        return None

    def unused(self) -> list[str]:
        """The words of the host's own file that nothing asked for, in order."""
        return sorted(
            leaf
            for leaf in _leaves(self.own)
            if not any(leaf == word or leaf.startswith(f"{word}.") for word in self.used)
        )


def read_prefix(prefix: Path, now: datetime) -> HostImport:
    """The preview of a pobsync installation's files (``config/global.yaml``, ``config/hosts/*.yaml``); nothing is written.

    Each host keeps its folder and its backup root, so that its snapshots are found where they lie. What means nothing here is
    named in the notes. Raises InvalidInput when there are no such files, or one cannot be read.
    """
    common = next((_read(prefix / name) for name in GLOBALS if (prefix / name).is_file()), {})
    paths = [path for folder in HOST_FOLDERS for path in sorted((prefix / folder).glob("*.y*ml"))]
    if not paths:
        raise InvalidInput(
            f"There are no hosts' files below {prefix}.",
            field="prefix",
            hint="They are looked for in config/hosts/*.yaml.",
        )
    zone = get_settings().time_zone
    rows = [_row(path.relative_to(prefix), _Config(_read(path), common), zone) for path in paths]
    notes = ("Each host gets a new SSH key: add its line to authorized_keys, then scan and pin the host's key.",)
    return HostImport(check_rows(rows, now), notes=notes)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InvalidInput(f"{path} is larger than 2 MB.", field="prefix")
        return read_mapping(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidInput(f"{path} cannot be read: {reason}.", field="prefix") from None


def _row(path: Path, config: _Config, zone: str) -> HostRow:
    name = as_text(config.get("name", own_only=True)) or path.stem
    options, refused = _options(config)
    one_file_system = config.get("one_file_system")
    bandwidth = as_text(config.get("bandwidth"))
    draft = InstanceDraft(
        kind=InstanceKind.HOST.value,
        name=name,
        directory=name,
        ssh_host=as_text(config.get("address", own_only=True)) or name,
        ssh_port=as_text(config.get("port")) or "22",
        ssh_user=as_text(config.get("user")) or "root",
        backup_root=as_text(config.get("backup_root")),
        paths=as_lines(config.get("paths")) or "/",
        includes=as_lines(config.get("includes")),
        **_excludes(config),
        one_file_system={True: YES, False: NO}.get(one_file_system, "") if isinstance(one_file_system, bool) else "",
        bandwidth_kib="" if bandwidth == "0" else bandwidth,
        own_rsync_options=bool(options),
        rsync_options=shlex.join(options),
    )
    jobs = _jobs(config, zone)
    left_out = [*refused, *config.unused()]
    notes = (f"Left out: {', '.join(left_out)[:400]}.",) if left_out else ()
    return HostRow(where=str(path), name=name, draft=draft, jobs=jobs, notes=notes)


def _excludes(config: _Config) -> dict[str, Any]:
    """What the files exclude, where they say so at all; then the settings' own list has no say."""
    instead = config.get("only_excludes", own_only=True)
    listed = [*as_list(instead if instead is not None else config.get("excludes"))]
    listed += as_list(config.get("more_excludes", own_only=True))
    return {"excludes": as_lines(listed), "own_excludes_only": bool(listed)}


def _options(config: _Config) -> tuple[list[str], list[str]]:
    """The options that can be given here, and those that cannot, which are named."""
    taken: list[str] = []
    refused: list[str] = []
    for word in map(as_text, [*as_list(config.get("options")), *as_list(config.get("more_options"))]):
        try:
            taken += check_options([word])
        except InvalidInput:
            refused.append(f"rsync {word[:60]}")
    return list(dict.fromkeys(taken)), refused


def _jobs(config: _Config, zone: str) -> tuple[JobDraft, ...]:
    """One job where there is a schedule; its retention is the host's, or the global one."""
    cron, kept = as_text(config.get("cron")), as_mapping(config.get("retention"))
    enabled = config.get("enabled", own_only=True) is not False
    if not cron:
        return ()
    job = replace(
        HOST_DRAFT,
        frequency=BuilderMode.CRON.value,
        cron=cron,
        time_zone=zone,
        enabled=enabled,
        name="Scheduled snapshot",
    )
    rules: dict[str, Any] = {f"keep_{name}": as_text(kept.get(name)) for name in KEEPS}
    return (replace(job, **rules) if any(rules.values()) else job,)


def _dig(data: Mapping[str, Any], word: str) -> Any:
    found: Any = data
    for part in word.split("."):
        found = as_mapping(found).get(part)
    return found


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(as_mapping(value), f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}"
