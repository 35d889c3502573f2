"""Which of its ciphers SSH is to offer first: AES-GCM where this machine's processor has AES built in."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from webapp.engine.process import clean_environment, run

# OpenSSH puts ChaCha20-Poly1305 first, which costs about twice as much processor time as AES-GCM in hardware.
FAST = "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
# «^», these before the defaults, is known since then; the defaults themselves stay the system's business.
_OLDEST = (8, 1)
_VERSION = re.compile(r"OpenSSH_(\d+)\.(\d+)")
_FLAGS = re.compile(r"^(?:flags|Features)\s*:.*\baes\b", re.MULTILINE)
_PROCESSOR = Path("/proc/cpuinfo")


@functools.cache
def cipher_options(program: str) -> tuple[str, ...]:
    """What to give ``-o`` of this ssh: one option, or none where its own order is the better one. Raises ProcessFailed."""
    said = run([program, "-V"], env=clean_environment(), timeout_seconds=30).stderr_tail
    return preferred(said, _processor())


def preferred(version: str, processor: str) -> tuple[str, ...]:
    """The option for what ``ssh -V`` and /proc/cpuinfo say."""
    found = _VERSION.search(version)
    is_known = found is not None and (int(found[1]), int(found[2])) >= _OLDEST
    return (f"Ciphers=^{FAST}",) if is_known and _FLAGS.search(processor) else ()


def _processor() -> str:
    try:
        return _PROCESSOR.read_text(errors="replace")
    except OSError:
        return ""
