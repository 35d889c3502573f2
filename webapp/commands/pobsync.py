"""What people who come from pobsync type, where it is spelled otherwise here: docs/reference/pobsync.md."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.commands.base import Parsers, add_verb
from webapp.commands.hosts import add_host_options, configure_host
from webapp.commands.retention import VERBS as RETENTION_VERBS
from webapp.commands.snapshots import add_discover_options, discover_and_wait


def register(parsers: Parsers) -> None:
    """Add ``configure-host`` and ``discover-snapshots``."""
    configure = add_verb(parsers, "configure-host", configure_host, "the same as: host configure")
    add_host_options(configure)
    discover = add_verb(parsers, "discover-snapshots", discover_and_wait, "the same as: snapshot discover --wait")
    add_discover_options(discover)


def spell_out(words: Sequence[str]) -> list[str]:
    """``retention HOST …`` as ``retention host HOST …``; a host that is called like a verb needs the long form."""
    known = {*RETENTION_VERBS, "-h", "--help"}
    if len(words) > 1 and words[0] == "retention" and words[1] not in known:
        return ["retention", "host", *words[1:]]
    return list(words)
