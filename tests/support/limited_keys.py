"""Keys that an sshd of the tests lets do one thing alone, as authorized_keys says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sshd import SshServer, make_key
from webapp.core.plans import Secret, SshPlan


@contextmanager
def limited_key(server: SshServer, directory: Path, command: str) -> Iterator[SshPlan]:
    """How to reach the server with a new key that is limited to ``command`` ("rrsync -ro /"), while inside."""
    private, public = make_key(directory / f"key-{len(list(directory.iterdir()))}")
    allowed = server.directory / "authorized_keys"
    before = allowed.read_text()
    allowed.write_text(f'{before}restrict,command="{command}" {public}\n')
    try:
        yield server.plan(private_key=Secret(private))
    finally:
        allowed.write_text(before)
