"""Which PostgreSQL servers can be started here, and which of them a dump can be restored into."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from webapp.core.errors import HoldfastError
from webapp.core.status import ErrorCode
from webapp.engine.pgtools import PgTools, find_tools
from webapp.engine.process import ProcessFailed, clean_environment, run

# Not trusted by PostgreSQL, so that only a superuser may make them; harmless: no files, no programs, no network.
ALLOWED_EXTENSIONS = frozenset(
    {
        "vector",
        "pg_stat_statements",
        "pg_buffercache",
        "pgstattuple",
        "pgrowlocks",
        "pg_freespacemap",
        "pg_visibility",
        "earthdistance",
        "amcheck",
        "bloom",
    }
)


@dataclass(frozen=True, slots=True)
class ServerPrograms:
    """One PostgreSQL with a server.

    Attributes:
        root: The directory that must be reachable for the programs to run: their libraries lie below it too.
        extensions: Names of the extensions that can be made.
        trusted: Those of them that a database's owner may make.
    """

    tools: PgTools
    root: str
    extensions: frozenset[str]
    trusted: frozenset[str]

    @property
    def major(self) -> int:
        """E.g. 15."""
        return self.tools.major

    def program(self, name: str) -> str:
        """Absolute path of one of them."""
        return self.tools.program(name)


@cache
def find_servers() -> tuple[ServerPrograms, ...]:
    """All servers of this machine; looked for once per process."""
    return tuple(server for tools in find_tools() if (server := _server(tools)) is not None)


def _server(tools: PgTools) -> ServerPrograms | None:
    if not all(os.access(tools.program(name), os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        done = run([tools.program("pg_config"), "--sharedir"], env=clean_environment(), timeout_seconds=20)
    except ProcessFailed:
        return None
    extensions, trusted = set(), set()
    for control in (Path(os.fsdecode(done.stdout.strip())) / "extension").glob("*.control"):
        extensions.add(control.stem)
        if "trusted = true" in control.read_text(encoding="utf-8", errors="replace"):
            trusted.add(control.stem)
    return ServerPrograms(tools, _root(tools), frozenset(extensions), frozenset(trusted))


def _root(tools: PgTools) -> str:
    """A wheel's libraries lie beside its package; a system's lie where they always do."""
    directory = Path(tools.directory)
    packages = next((parent for parent in directory.parents if parent.name == "site-packages"), None)
    return str(packages or directory.parent)


def choose_server(
    oldest_major: int, extensions: Collection[str], servers: Sequence[ServerPrograms] | None = None
) -> ServerPrograms:
    """The nearest server not older than the dump that has every extension. Raises HoldfastError(drill_impossible)."""
    found = find_servers() if servers is None else servers
    new_enough = sorted((one for one in found if one.major >= oldest_major), key=lambda one: one.major)
    if not new_enough:
        have = ", ".join(sorted(one.tools.version for one in found)) or "none"
        raise _impossible(
            f"The dump is of PostgreSQL {oldest_major}; of servers to restore it into there is here: {have}.",
            f"Install postgresql-{oldest_major} on the worker. Its service need not run.",
        )
    for server in new_enough:
        if set(extensions) <= server.extensions & (server.trusted | ALLOWED_EXTENSIONS):
            return server
    best = new_enough[0]
    missing = sorted(set(extensions) - best.extensions)
    refused = sorted(set(extensions) & best.extensions - best.trusted - ALLOWED_EXTENSIONS)
    if missing:
        raise _impossible(
            f"PostgreSQL {best.tools.version} has no extension {', '.join(missing)}, which the database uses.",
            f"Install it for PostgreSQL {best.major} on the worker.",
        )
    raise _impossible(
        f"The database uses {', '.join(refused)}: an extension that reaches files, programs or other servers.",
        "A drill never makes such an extension. Restore this archive by hand to a test server instead.",
    )


def _impossible(message: str, hint: str) -> HoldfastError:
    return HoldfastError(message, hint=hint, code=ErrorCode.DRILL_IMPOSSIBLE, permanent=True)
