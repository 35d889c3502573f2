"""What an archive must be: taken from the plan and the source's facts, or later from the side-car manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from webapp.core.manifest import Manifest
from webapp.core.plans import BackupPlan, OdooHttpPlan, Previous
from webapp.core.reports import SourceFacts
from webapp.core.status import ArchiveFormat, Content, FilestoreKind

# In an uploaded archive's side-car: its zip has no manifest.json that names its database.
NAMELESS = "nameless"
NAMELESS_YES = "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a verification compares with. None means not known, and then not compared.

    Attributes:
        has_filestore: The archive must hold every file that the dump's ir_attachment refers to.
        own_snapshot: Our own source took the dump first and the files after it, so nothing may be missing but what
            was missing there already (the known ones). Odoo copies files first, so some may be missing in its zips.
        previous: The newest verified archive of the same database and content.
        xxh128: Known right after the writing; then it is what the file is compared by in place of ``sha256``.
        names_itself: An Odoo zip has a manifest.json with the database's name; an uploaded one may lack it.
    """

    archive_format: ArchiveFormat
    database: str
    is_odoo: bool
    has_filestore: bool
    size_bytes: int | None = None
    sha256: str | None = None
    table_rows: Mapping[str, int] | None = None
    own_snapshot: bool = False
    missing_attachments: tuple[str, ...] = ()
    missing_attachment_count: int = 0
    mismatched_attachment_count: int = 0
    previous: Previous | None = None
    names_itself: bool = True
    xxh128: str = ""


def expectation_of_backup(
    plan: BackupPlan, facts: SourceFacts, *, size_bytes: int, sha256: str, xxh128: str = ""
) -> Expectation:
    """What the archive just written must be."""
    source = plan.source
    from_http = isinstance(source, OdooHttpPlan)
    if isinstance(source, OdooHttpPlan):
        odoo = files_reachable = True
    else:
        # Of a database that proves not to be Odoo's the source counts no attachments.
        odoo = source.is_odoo and facts.attachment_count is not None
        files_reachable = source.filestore.kind is not FilestoreKind.NONE
    return Expectation(
        archive_format=plan.format,
        database=plan.database,
        is_odoo=odoo,
        has_filestore=odoo and files_reachable and _may_hold_files(plan.format, plan.content),
        size_bytes=size_bytes,
        sha256=sha256,
        table_rows=facts.table_rows,
        own_snapshot=not from_http,
        missing_attachments=facts.missing_attachments,
        missing_attachment_count=facts.missing_attachment_count,
        mismatched_attachment_count=facts.mismatched_attachment_count,
        previous=plan.previous,
        xxh128=xxh128,
    )


def expectation_of_manifest(manifest: Manifest, previous: Previous | None = None) -> Expectation:
    """What a stored archive must still be."""
    return Expectation(
        archive_format=manifest.archive_format,
        database=manifest.database,
        is_odoo=manifest.is_odoo,
        has_filestore=manifest.has_filestore,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        table_rows=manifest.table_rows,
        own_snapshot=manifest.table_rows is not None,
        missing_attachments=manifest.missing_attachments,
        missing_attachment_count=manifest.missing_attachment_count,
        mismatched_attachment_count=manifest.mismatched_attachment_count,
        previous=previous,
        names_itself=manifest.labels.get(NAMELESS) != NAMELESS_YES,
    )


def _may_hold_files(archive_format: ArchiveFormat, content: Content) -> bool:
    return archive_format is ArchiveFormat.ZIP and content is Content.DATABASE_AND_FILESTORE
