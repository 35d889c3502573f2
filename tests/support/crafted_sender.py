"""A malicious host: the real rsync sends, and what it says is altered on the way out, names of files above all.

The protocol counts bytes and does not sign them, so that a replacement of equal length is still well formed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.sshd import SshServer

_SCRIPT = """#!{python}
import os, subprocess, sys
RULES = {rules!r}
LONGEST = max(map(len, RULES), default=1)
child = subprocess.Popen(["/usr/bin/rsync", *sys.argv[1:]], stdout=subprocess.PIPE, bufsize=0, close_fds=False)
told = open({told!r}, "ab", 0)
held = b""
while chunk := os.read(child.stdout.fileno(), 65536):
    held += chunk
    for old, new in RULES.items():
        told.write(new * held.count(old))
        held = held.replace(old, new)
    keep = next((n for n in range(min(LONGEST - 1, len(held)), 0, -1)
                 if any(rule.startswith(held[-n:]) for rule in RULES)), 0)
    os.write(1, held[:len(held) - keep])
    held = held[len(held) - keep:]
os.write(1, held)
sys.exit(child.wait())
"""


@contextmanager
def crafted_sender(server: SshServer, source: Path, rules: Mapping[bytes, bytes], directory: Path) -> Iterator[Path]:
    """While inside, the server's key gives ``source`` as "/", each of the ``rules`` replaced in all that is sent.

    Yields the file that tells what was put in: a trick that was never played proves nothing.
    """
    assert all(len(old) == len(new) for old, new in rules.items())
    rrsync = shutil.which("rrsync")
    assert rrsync is not None, "rrsync (of the package rsync) is needed for this test"
    sender, limiter, told = directory / "sender", directory / "limiter", directory / "told"
    sender.write_text(_SCRIPT.format(python=sys.executable, rules=dict(rules), told=str(told)))
    limiter.write_text(Path(rrsync).read_text().replace("RSYNC = '/usr/bin/rsync'", f"RSYNC = {str(sender)!r}"))
    for script in (sender, limiter):
        script.chmod(0o755)
    keys = server.directory / "authorized_keys"
    before = keys.read_text()
    keys.write_text(f'restrict,command="{limiter} -ro {source}" {before}')
    try:
        yield told
    finally:
        keys.write_text(before)
