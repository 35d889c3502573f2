"""From evidence to fingerprint: the numbers of one verification that the sentinel compares with others."""

from __future__ import annotations

from webapp.core.sentinel import Fingerprint, largest_tables
from webapp.core.status import ArchiveFormat
from webapp.engine.evidence import Evidence


def fingerprint_of(evidence: Evidence, archive_format: ArchiveFormat) -> Fingerprint:
    """What the archive looks like, as far as it was read; of one that cannot be read only its size."""
    if evidence.damage is not None:
        return Fingerprint(size_bytes=evidence.size_bytes)
    dump, files, traits = evidence.dump, evidence.attachments, evidence.traits
    packed = evidence.size_bytes if archive_format is ArchiveFormat.CUSTOM else evidence.dump_packed
    return Fingerprint(
        size_bytes=evidence.size_bytes,
        row_total=sum(dump.rows.values()) if dump else None,
        table_count=len(dump.tables) if dump else None,
        tables=largest_tables(dump.rows) if dump else None,
        attachment_count=files.expected if files else None,
        mismatched=files.mismatched + files.unreferenced_mismatched if files else None,
        dump_plain=dump.size if dump else None,
        dump_packed=packed if dump else None,
        files_plain=traits.plain if traits else None,
        files_packed=traits.packed if traits else None,
        sampled=traits.sampled if traits else None,
        opaque=traits.opaque if traits else None,
        administrators=evidence.administrators,
    )
