"""Uploads: a backup made elsewhere becomes a restore point, after it was proved."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import ArchiveError, HoldfastError, InvalidInput, SourceError
from webapp.core.reports import Check
from webapp.core.status import ArchiveFormat, Role
from webapp.services import archives, uploads
from webapp.services.wiring import wired
from webapp.web.access import current_actor, permission, request_time, takes_files
from webapp.web.htmx import see_other

bp = Blueprint("uploads", __name__, url_prefix="/restore-points")


@bp.get("/upload")
@permission(Role.OPERATOR)
def new() -> ResponseReturnValue:
    """Choose a file."""
    return _form()


@bp.post("/upload")
@permission(Role.OPERATOR)
@takes_files
def create() -> ResponseReturnValue:
    """Take the file in, and show what became of it."""
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        return _form(InvalidInput("Choose a file.", field="file"))
    try:
        archive = uploads.receive(
            sent.stream, sent.filename, sent.content_length or None, actor=current_actor(), now=request_time()
        )
    except (InvalidInput, SourceError, ArchiveError) as error:
        return _form(error)
    return see_other("uploads.show", archive_id=archive.id)


@bp.get("/<int:archive_id>")
@permission(Role.VIEWER)
def show(archive_id: int) -> ResponseReturnValue:
    """One restore point: what it holds, and what was proved of it."""
    archive = archives.get_archive(archive_id)
    if archive.format is ArchiveFormat.SNAPSHOT:
        return see_other("snapshots.show", archive_id=archive_id)
    return render_template(
        "uploads/show.html",
        archive=archive,
        checks=[Check.from_json(item) for item in archive.report],
        now=request_time(),
    )


def _form(error: HoldfastError | None = None) -> ResponseReturnValue:
    body = render_template("uploads/new.html", error=error, limit_bytes=wired().upload_limit_bytes)
    return make_response(body, 200 if error is None else 422)
