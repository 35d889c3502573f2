"""What a host may be: the fields that only hosts have, checked, and written to its row."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from webapp.core.errors import InvalidInput
from webapp.core.rsync_options import check_host_path, check_options, check_pattern
from webapp.services.drafts import DraftCheck
from webapp.services.instance_values import read_host, read_path, read_ssh_user
from webapp.store.models import Host

YES, NO = "yes", "no"
MOST_LINES = 500
MOST_BANDWIDTH_KIB = 100 * 1024**2
_DIRECTORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
NO_OPTIONS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostDraft:
    """What a person typed of a host beyond its SSH address, not yet checked. Lists have one entry a line.

    "" means «as the settings say» for ``backup_root``, ``one_file_system`` ("yes" and "no" are the host's own word),
    ``bandwidth_kib`` and ``shrink_percent``. ``rsync_options`` (words as in a shell) count where ``own_rsync_options`` is
    ticked, also when empty. ``directory`` counts when the host is added; "" chooses one from its name.
    """

    paths: str = ""
    includes: str = ""
    excludes: str = ""
    own_excludes_only: bool = False
    one_file_system: str = ""
    bandwidth_kib: str = ""
    own_rsync_options: bool = False
    rsync_options: str = ""
    shrink_percent: str = ""
    sentinel_files: str = ""
    accepted_errors: str = ""
    backup_root: str = ""
    directory: str = ""


def check_host(check: DraftCheck, draft: HostDraft) -> dict[str, Any]:
    """The columns of the host's row; ``directory`` among them, "" for one made from the name."""
    paths = check_lines(check, "paths", draft.paths, check_host_path)
    if not paths and not any(problem.field == "paths" for problem in check.problems):
        check.refuse("paths", "No path is named.", "Write / for the whole host, or directories, one a line.")
    excludes = check_lines(check, "excludes", draft.excludes, check_pattern)
    _refuse_excluded_paths(check, paths, excludes)
    options = check.take("rsync_options", read_options, draft.rsync_options, default=NO_OPTIONS)
    return {
        "backup_root": check.take("backup_root", read_root, draft.backup_root, default=""),
        "directory": check.take("directory", read_directory, draft.directory, default=""),
        "paths": paths,
        "includes": check_lines(check, "includes", draft.includes, check_pattern),
        "excludes": excludes,
        "own_excludes_only": draft.own_excludes_only,
        "one_file_system": _yes_or_no(check, draft.one_file_system),
        "bandwidth_kib": _number_or_default(check, "bandwidth_kib", draft.bandwidth_kib, MOST_BANDWIDTH_KIB),
        "rsync_options": list(options) if draft.own_rsync_options else None,
        "shrink_percent": _number_or_default(check, "shrink_percent", draft.shrink_percent, 100),
        "sentinel_files": check_lines(check, "sentinel_files", draft.sentinel_files, check_host_path),
        "accepted_errors": check_lines(check, "accepted_errors", draft.accepted_errors, check_host_path),
    }


def check_address(check: DraftCheck, address: str, *, port: str, user: str) -> dict[str, Any]:
    """The columns of an SSH host."""
    return {
        "ssh_host": check.take("ssh_host", read_host, address, default=""),
        "ssh_port": check.number("ssh_port", port, label="The SSH port", low=1, high=65535),
        "ssh_user": check.take("ssh_user", read_ssh_user, user, default=""),
    }


def host_values(host: Host) -> dict[str, Any]:
    """The stored values as the fields of a HostDraft."""
    own = host.rsync_options is not None
    return {
        "paths": "\n".join(host.paths),
        "includes": "\n".join(host.includes),
        "excludes": "\n".join(host.excludes),
        "own_excludes_only": host.own_excludes_only,
        "one_file_system": "" if host.one_file_system is None else (YES if host.one_file_system else NO),
        "bandwidth_kib": "" if host.bandwidth_kib is None else str(host.bandwidth_kib),
        "own_rsync_options": own,
        "rsync_options": shlex.join(host.rsync_options or []),
        "shrink_percent": "" if host.shrink_percent is None else str(host.shrink_percent),
        "sentinel_files": "\n".join(host.sentinel_files),
        "accepted_errors": "\n".join(host.accepted_errors),
        "backup_root": host.backup_root,
        "directory": host.directory,
    }


def check_lines(check: DraftCheck, field: str, text: str, read: Callable[[str], str]) -> list[str]:
    """The lines of a field, each once and each passed by ``read``; empty ones are left out."""
    found: list[str] = []
    for line in dict.fromkeys(line.strip() for line in text.replace("\r\n", "\n").split("\n")):
        if line:
            try:
                found.append(read(line))
            except InvalidInput as error:
                check.refuse(field, error.message, error.hint)
    if len(found) > MOST_LINES:
        check.refuse(field, f"There are more than {MOST_LINES} lines.")
    return list(dict.fromkeys(found))


def read_root(text: str) -> str:
    """An absolute directory of this machine, or "" for the default."""
    root = text.strip()
    if not root:
        return ""
    path = read_path(root)
    if path == "/":
        raise InvalidInput("Snapshots cannot lie right below /.", hint="Name a directory, such as /backups.")
    return path


def read_directory(text: str) -> str:
    """A folder's name below the backup root, or "" for one made from the host's name."""
    name = text.strip()
    if name and not _DIRECTORY.fullmatch(name):
        raise InvalidInput(
            f"«{name[:64]}» cannot be the name of a host's folder.",
            hint="Use letters, digits, dots, hyphens and underscores; at most 64, and no dot in front.",
        )
    return name


def read_options(text: str) -> tuple[str, ...]:
    """Options of rsync, written as in a shell, checked against what is allowed."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise InvalidInput("The options have a quotation mark that is not closed.", hint="Close it.") from None
    return check_options(words)


def leaves_out(pattern: str, path: str) -> bool:
    """Whether an rsync exclude pattern would leave out ``path`` itself, or a directory on the way to it."""
    parts = [part for part in path.split("/") if part]
    bare = pattern.removesuffix("/***").rstrip("/")
    if not bare.startswith("/"):
        return "/" not in bare and any(fnmatchcase(part, bare) for part in parts)
    wanted = [part for part in bare.split("/") if part]
    return len(wanted) <= len(parts) and bool(wanted) and all(map(fnmatchcase, parts, wanted))


def _refuse_excluded_paths(check: DraftCheck, paths: list[str], excludes: list[str]) -> None:
    for path in paths:
        pattern = next((pattern for pattern in excludes if leaves_out(pattern, path)), None)
        if pattern is not None:
            check.refuse("excludes", f"«{pattern[:60]}» would leave out {path[:60]}, which is to be taken.")


def _yes_or_no(check: DraftCheck, word: str) -> bool | None:
    if word not in ("", YES, NO):
        check.refuse("one_file_system", "Other file systems: choose one of the options.")
    return None if word not in (YES, NO) else word == YES


def _number_or_default(check: DraftCheck, field: str, text: str, high: int) -> int | None:
    labels = {"bandwidth_kib": "The bandwidth", "shrink_percent": "The share"}
    return check.number(field, text, label=labels[field], low=0, high=high) if text.strip() else None
