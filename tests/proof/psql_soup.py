"""Random soups of all that makes lexers stumble: what the filter lets pass is given to a real psql, which must run no command."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.support.postgres import running_server
from webapp.core.errors import ArchiveError
from webapp.engine.restore.sql_filter import DumpFilter

PIECES = (
    "'", "''", '"', '""', "$$", "$a$", "$1", "E'", "e'", "1e'", "U&'", "B'", "N'", "\\",
    "\\'", "\\\\", "--", "/*", "*/", "(", ")",
    ";", ";\n", "\n", " ", "a", "1", "1.5", ":", "::", "[", "]", ",", ".", "=", "COPY t FROM stdin;\n", "COPY t FROM stdin; ",
    "\\.\n", "\n\\.\n", "\\.", "x\n", "CREATE ", "OR REPLACE ", "FUNCTION ", "PROCEDURE ", "BEGIN ", "ATOMIC ", "CASE ", "END ",
    "SELECT ", "SELECT 1;\n", "date", "é", "\r\n", "\t", "\\restrict a\n", "\\unrestrict a\n", ":'a'", ":{?a}", "\\;",
)  # fmt: skip


def soup(source: random.Random) -> bytes:
    """Some pieces, with commands for psql in between."""
    pieces = source.choices(PIECES, k=source.randint(2, 14))
    for _ in range(source.randint(1, 2)):
        pieces.insert(source.randint(0, len(pieces)), source.choice(("\\! touch CANARY\n", "\n\\! touch CANARY\n")))
    if source.random() < 0.5:
        pieces.append(source.choice(("';\n", "$$;\n", '";\n', "*/;\n", "\n\\.\n", ";\n")))
    return "".join(pieces).encode()


def taste(dump: bytes, canary: Path, psql: str, environment: Mapping[str, str], *, filtering: bool = True) -> str:
    """Whether the filter refused it, psql was harmless, or RAN a command."""
    passed = text = dump.replace(b"CANARY", str(canary).encode())
    try:
        if filtering:
            passed = b"".join(DumpFilter(lambda statement: True).filtered([text]))
    except ArchiveError:
        return "refused"
    # Without our own \restrict line, and going on after errors: the filter has to do it alone.
    opening = b"CREATE TEMP TABLE t (a text);\n"
    subprocess.run(
        [psql, "-X", "-q", "--file=-"], input=opening + passed, env=dict(environment), capture_output=True, check=False
    )
    if canary.exists():
        canary.unlink()
        return "RAN"
    return "harmless"


def stir(passed: int, seed: int) -> list[str]:
    """Soups until so many have passed the filter; those of which psql ran a command."""
    source = random.Random(seed)
    seen: Counter[str] = Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as directory, running_server() as server:
        canary, psql = Path(directory) / "canary", str(server.binaries / "psql")
        while seen["harmless"] + seen["RAN"] < passed:
            dump = soup(source)
            verdict = taste(dump, canary, psql, server.environment())
            seen[verdict] += 1
            if verdict == "RAN":
                wrong.append(f"psql ran a command of {dump!r}")
        # The negative control: unfiltered, psql must run many of them, or the soup has no teeth.
        naive = [taste(soup(source), canary, psql, server.environment(), filtering=False) for _ in range(100)].count(
            "RAN"
        )
    print(f"soups: {dict(seen)}; unfiltered, psql ran commands of {naive} in 100", flush=True)
    return wrong if naive > 10 else [*wrong, "unfiltered soups are harmless too, so they prove nothing"]
