"""The sentinel: is the newest archive of a database still like those before it?

A fingerprint holds what a verification learnt while it read the archive anyway. ``compare`` looks at the newest beside up to
ten predecessors, and answers with findings in words: a *warning* is shown, a *blow* also freezes the job's retention, so that
what was good before is not dropped for what came after. Growth is no finding, and neither is slow shrinking: most questions
ask for both, far below what is usual (the median) and well below the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from statistics import median
from typing import Any, Self

from webapp.core.status import ErrorCode
from webapp.core.text import format_count, format_size, plural

MOST_PREDECESSORS = 10
# Less than this share of what is usual is a collapse; less than that of it is worth a word.
COLLAPSE = 0.5
SMALLER = 0.75
# A fall counts once: the run after it is like its predecessor.
AGAIN = 0.75
EMPTIED = 0.1
SMALLEST_BYTES = 64 * 1024
SMALLEST_COUNT = 20
# Tables are kept from this many rows on, and only the largest of them.
SMALLEST_TABLE = 20
MOST_TABLES = 200
# From so many predecessors on a table's count can be called steady.
STEADY_FROM = 3
_STEADY = 0.75
_FEWEST_ROWS = 100
# Content that became incompressible where it stood, as a share of all: a finding, a blow.
_REWRITTEN = 0.10
_REWRITTEN_BLOW = 0.25
_SMALLEST_PLAIN = 1024 * 1024
_OPAQUE_JUMP = 0.3
_FEWEST_SAMPLED = 20
_SHOWN = 5
# Queues, logs and wizards: their rows come and go.
_PASSING = (
    "bus_",
    "mail_mail",
    "mail_notification",
    "ir_logging",
    "ir_profile",
    "queue_",
    "base_import",
    "ir_cron_trigger",
)


class Severity(StrEnum):
    """How bad a finding is. A blow freezes the job's retention."""

    WARNING = "warning"
    BLOW = "blow"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that changed, in words, with the numbers behind it."""

    code: ErrorCode
    severity: Severity
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What one archive looks like; None for what could not be seen (other formats, no Odoo, an unknown dump).

    Attributes:
        tables: Rows of the largest tables; ``row_total`` and ``table_count`` are over all.
        attachment_count: Distinct files that the dump refers to.
        mismatched: Files whose content does not have the SHA-1 that names them.
        dump_plain: Bytes of the plain dump, and of the same as it is compressed in the archive (``dump_packed``).
        files_plain: The same of the filestore's files.
        sampled: Files whose beginning was looked at; ``opaque`` of them are of no known kind and look like noise.
        administrators: Logins of active users that may administer, sorted.
    """

    size_bytes: int
    row_total: int | None = None
    table_count: int | None = None
    tables: Mapping[str, int] | None = None
    attachment_count: int | None = None
    mismatched: int | None = None
    dump_plain: int | None = None
    dump_packed: int | None = None
    files_plain: int | None = None
    files_packed: int | None = None
    sampled: int | None = None
    opaque: int | None = None
    administrators: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data = asdict(self)
        if self.administrators is not None:
            data["administrators"] = list(self.administrators)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """The inverse; None for an empty mapping. Unknown fields are ignored."""
        if not data:
            return None
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        if values.get("administrators") is not None:
            values["administrators"] = tuple(values["administrators"])
        return cls(**values)


def largest_tables(rows: Mapping[str, int]) -> dict[str, int]:
    """What a fingerprint keeps of the rows per table."""
    worth = ((count, name) for name, count in rows.items() if count >= SMALLEST_TABLE)
    return {name: count for count, name in sorted(worth, reverse=True)[:MOST_TABLES]}


def compare(newest: Fingerprint, predecessors: Sequence[Fingerprint]) -> tuple[Finding, ...]:
    """What is wrong with the newest, blows first. ``predecessors``: the oldest first; only the last ten count."""
    before = predecessors[-MOST_PREDECESSORS:]
    found = _mismatched(newest, before)
    if before:
        found += _opaque(newest, before)
        found += _rewritten(newest, before)
        found += _collapses(newest, before)
        found += _emptied_tables(newest, before)
        found += _administrators(newest, before)
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.BLOW))


def _mismatched(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    """The name of a file is the SHA-1 of its content, and Odoo never rewrites one."""
    count = newest.mismatched or 0
    known = max((one.mismatched or 0 for one in before), default=0)
    if count <= known:
        return []
    more = f" ({format_count(known)} before)" if known else ""
    text = (
        f"{format_count(count)} {plural(count, 'file', 'files')}{more} of the filestore do not have the content that "
        "their name promises. Odoo never changes a file: a disk is failing, or something rewrites them."
    )
    return [Finding(ErrorCode.CONTENT_CHANGED, Severity.BLOW, text, {"now": count, "before": known})]


def _opaque(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    now = _opaque_share(newest)
    known = [share for share in map(_opaque_share, before) if share is not None]
    if now is None or not known or now - max(known) < _OPAQUE_JUMP:
        return []
    usual = median(known)
    text = (
        f"{now:.0%} of the files looked at are of no known kind and look like noise; usual are {usual:.0%}. "
        "Encrypted files look like this."
    )
    return [Finding(ErrorCode.CONTENT_CHANGED, Severity.BLOW, text, {"now": now, "usual": usual})]


def _opaque_share(one: Fingerprint) -> float | None:
    if one.sampled is None or one.opaque is None or one.sampled < _FEWEST_SAMPLED:
        return None
    return one.opaque / one.sampled


def _rewritten(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    """Did old content stop being compressible? New content adds to the packed size at most what it adds to the plain one."""
    found = []
    for what, plain_name, packed_name in (
        ("the database's text", "dump_plain", "dump_packed"),
        ("the filestore", "files_plain", "files_packed"),
    ):
        pairs = [(getattr(one, plain_name), getattr(one, packed_name)) for one in (*before, newest)]
        known = [(plain, packed) for plain, packed in pairs if plain is not None and packed is not None]
        if len(known) < 2 or known[-1] != pairs[-1] or min(known[-1][0], known[-2][0]) < _SMALLEST_PLAIN:
            continue
        share = _rewritten_share(known)
        if share >= _REWRITTEN:
            severity = Severity.BLOW if share >= _REWRITTEN_BLOW else Severity.WARNING
            text = f"About {share:.0%} of {what} no longer compresses as it did. Encrypted content does not compress."
            found.append(Finding(ErrorCode.CONTENT_CHANGED, severity, text, {"share": share}))
    return found


def _rewritten_share(known: Sequence[tuple[int, int]]) -> float:
    (plain, packed), *_ = reversed(known)
    earlier = known[:-1]
    usual_ratio = max(one_packed / one_plain for one_plain, one_packed in earlier if one_plain)
    last_plain, last_packed = earlier[-1]
    unexplained = (packed - last_packed) - max(0, plain - last_plain)
    beyond_usual = packed - usual_ratio * plain
    return min(unexplained, beyond_usual) / plain


def _collapses(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    found = []
    for what, name, smallest, code in (
        ("The archive", "size_bytes", SMALLEST_BYTES, ErrorCode.SIZE_COLLAPSED),
        ("Rows of all tables", "row_total", SMALLEST_COUNT, ErrorCode.ROWS_COLLAPSED),
        ("Attachment files", "attachment_count", SMALLEST_COUNT, ErrorCode.CONTENT_CHANGED),
    ):
        now = getattr(newest, name)
        history = [value for value in (getattr(one, name) for one in before) if value is not None]
        severity = _fall(now, history, smallest)
        if severity is None:
            continue
        usual = median(history)
        shown = format_size if name == "size_bytes" else format_count
        text = f"{what}: {shown(now)}, {1 - now / usual:.0%} less than usual ({shown(round(usual))})."
        found.append(Finding(code, severity, text, {"now": now, "usual": usual}))
    return found


def _fall(now: float | None, history: Sequence[float], smallest: int) -> Severity | None:
    if now is None or not history:
        return None
    usual = median(history)
    if usual < smallest or now >= history[-1] * AGAIN or now >= usual * SMALLER:
        return None
    return Severity.BLOW if now < usual * COLLAPSE else Severity.WARNING


def _emptied_tables(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    """Tables whose number of rows is steady, and of which next to nothing, or less than half, is left."""
    histories = [one.tables for one in before if one.tables is not None]
    if newest.tables is None or len(histories) < STEADY_FROM:
        return []
    emptied, shrunk = [], []
    unseen = _most_unseen(newest.tables)
    for table in histories[-1]:
        counts = [history.get(table, 0) for history in histories]
        if min(counts) < _STEADY * max(counts) or _is_passing(table):
            continue
        usual, now = median(counts), newest.tables.get(table, unseen)
        if usual < _FEWEST_ROWS:
            continue
        if now < usual * EMPTIED:
            emptied.append((table, now, round(usual)))
        elif now < usual * COLLAPSE:
            shrunk.append((table, now, round(usual)))
    return [*_table_finding(emptied, Severity.BLOW), *_table_finding(shrunk, Severity.WARNING)]


def _most_unseen(tables: Mapping[str, int]) -> int:
    """The most rows that a table may have which the fingerprint does not name."""
    return max(SMALLEST_TABLE - 1, min(tables.values()) if len(tables) >= MOST_TABLES else 0)


def _is_passing(table: str) -> bool:
    name = table.rpartition(".")[2]
    return name.startswith(_PASSING) or "wizard" in name


def _table_finding(tables: Sequence[tuple[str, int, int]], severity: Severity) -> list[Finding]:
    if not tables:
        return []
    ranked = sorted(tables, key=lambda one: one[1] - one[2])
    shown = [f"{name} (usually {format_count(usual)} rows)" for name, _, usual in ranked[:_SHOWN]]
    more = f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
    begins = "Next to nothing is left in" if severity is Severity.BLOW else "Less than half is left in"
    return [
        Finding(
            ErrorCode.ROWS_COLLAPSED,
            severity,
            f"{begins} {', '.join(shown)}{more}.",
            {"tables": len(ranked), "lost": sum(usual - now for _, now, usual in ranked)},
        )
    ]


def _administrators(newest: Fingerprint, before: Sequence[Fingerprint]) -> list[Finding]:
    histories = [set(one.administrators) for one in before if one.administrators is not None]
    if newest.administrators is None or not histories:
        return []
    new = sorted(set(newest.administrators) - set().union(*histories))
    if not new:
        return []
    names = ", ".join(new[:_SHOWN]) + (f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else "")
    text = f"New {plural(len(new), 'administrator', 'administrators')} since the backups before: {names}."
    return [Finding(ErrorCode.NEW_ADMINISTRATORS, Severity.BLOW, text, {"new": len(new)})]
