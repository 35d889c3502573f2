"""Restore points: the list, one archive's download, its manifest, and verifying it again."""

from __future__ import annotations

from flask import Blueprint, request, send_file
from flask.typing import ResponseReturnValue

from webapp.core.status import ArchiveFormat, Role, VerificationLevel, VerificationStatus
from webapp.services import archives, points_pages, trash
from webapp.services.archives import ArchiveFilter
from webapp.web.access import current_actor, permission, request_time
from webapp.web.htmx import page_or_partial, see_other
from webapp.web.tables import csv_response, page_number

bp = Blueprint("archives", __name__)

PAGE = 50
MEDIA_TYPES = {ArchiveFormat.ZIP: "application/zip", ArchiveFormat.CUSTOM: "application/octet-stream"}


def read_filter(page: int, size: int = PAGE) -> ArchiveFilter:
    """The filter that the URL asks for."""
    raw = request.args.get("verification", "")
    known = {word.value for word in VerificationStatus}
    return ArchiveFilter(
        instance_id=request.args.get("instance", type=int),
        database=request.args.get("database", "")[:63],
        verification=VerificationStatus(raw) if raw in known else None,
        with_gone=request.args.get("gone") == "1",
        offset=(page - 1) * size,
        limit=size,
    )


@bp.get("/restore-points", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """All restore points, newest first; ``?instance= &database= &verification= &gone=1 &page=``."""
    page = page_number()
    wanted = read_filter(page)
    found, total = archives.list_archives(wanted)
    now = request_time()
    return page_or_partial(
        "archives/list.html",
        "rows",
        archives=found,
        kept_by=points_pages.find_kept(found, now),
        lanes=points_pages.list_lanes(wanted, now) if page == 1 else [],
        trashed=len(trash.list_trash()),
        total=total,
        page=page,
        page_size=PAGE,
        wanted=wanted,
        statuses=list(VerificationStatus),
        now=now,
    )


@bp.get("/restore-points.csv")
@permission(Role.VIEWER)
def export() -> ResponseReturnValue:
    """The filtered list as CSV, at most 10,000 rows."""
    found, _ = archives.list_archives(read_filter(1, 10_000))
    head = (
        "restore_point",
        "instance",
        "database",
        "taken_at",
        "size_bytes",
        "sha256",
        "state",
        "verification",
        "file",
    )
    rows = (
        (
            a.id,
            a.instance_name,
            a.database_name,
            a.taken_at,
            a.size_bytes,
            a.sha256,
            a.state,
            a.verification_status,
            a.relative_path,
        )
        for a in found
    )
    return csv_response("restore-points.csv", head, rows)


@bp.get("/restore-points/<int:archive_id>/download")
@permission(Role.OPERATOR)
def download(archive_id: int) -> ResponseReturnValue:
    """The archive's file. It holds everything the database holds, so a viewer may not have it."""
    archive = archives.get_archive(archive_id)
    path = archives.record_download(archive, actor=current_actor(), now=request_time())
    return send_file(
        path,
        mimetype=MEDIA_TYPES[archive.format],
        as_attachment=True,
        download_name=path.rsplit("/", 1)[-1],
        conditional=True,
        etag=archive.sha256,
        max_age=0,
    )


@bp.get("/restore-points/<int:archive_id>/manifest.json")
@permission(Role.VIEWER)
def manifest(archive_id: int) -> ResponseReturnValue:
    """The side-car manifest."""
    return dict(archives.read_manifest_data(archives.get_archive(archive_id)))


@bp.post("/restore-points/<int:archive_id>/verify")
@permission(Role.OPERATOR)
def verify(archive_id: int) -> ResponseReturnValue:
    """Prove it again, at the deepest level."""
    task = archives.request_verification(
        archive_id, level=VerificationLevel.COMPLETE, actor=current_actor(), now=request_time()
    )
    return see_other("tasks.show", task_id=task.id)
