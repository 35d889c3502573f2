"""Running docs/restore-by-hand.sh as a person would: with a clean environment and standard tools only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.postgres import PostgresServer

SCRIPT = Path(__file__).parents[2] / "docs/restore-by-hand.sh"


def restore_by_hand(
    server: PostgresServer, directory: Path, database: str, filestore: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script; its answer, whatever the exit code."""
    environment = server.environment() | {"PATH": f"{server.binaries}:/usr/bin:/bin", "TMPDIR": str(directory.parent)}
    del environment["PGDATABASE"]
    argv = [str(SCRIPT), str(directory), database, *([str(filestore)] if filestore is not None else [])]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, cwd=os.sep, timeout=120)
