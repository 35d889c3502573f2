"""Restore points by hand: pinned, deleted with care, and taken back from the trash."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import Role
from webapp.services import points, trash
from webapp.services.archives import get_archive
from webapp.services.settings import get_settings
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.htmx import see_other, toast

bp = Blueprint("points", __name__)


@bp.get("/restore-points/trash", endpoint="trash")
@permission(Role.VIEWER)
def show_trash() -> ResponseReturnValue:
    """What was deleted and can still be taken back, what goes first first."""
    now = request_time()
    found = trash.list_trash()
    return render_template(
        "points/trash.html",
        archives=found,
        held={archive.id: trash.why_kept_in_trash(archive, now) for archive in found},
        days=get_settings().trash_days,
        now=now,
    )


@bp.get("/restore-points/<int:archive_id>/pin")
@permission(Role.OPERATOR)
def pin_form(archive_id: int) -> ResponseReturnValue:
    """Ask for a note."""
    return render_template("points/pin.html", archive=get_archive(archive_id), error=None)


@bp.post("/restore-points/<int:archive_id>/pin")
@permission(Role.OPERATOR)
def pin(archive_id: int) -> ResponseReturnValue:
    """Keep it for ever."""
    try:
        points.pin(archive_id, request.form.get("note", ""), actor=current_actor(), now=request_time())
    except InvalidInput as error:
        return render_template("points/pin.html", archive=get_archive(archive_id), error=error), 422
    toast("Pinned. It stays for ever.")
    return _back(archive_id)


@bp.post("/restore-points/<int:archive_id>/unpin")
@permission(Role.OPERATOR)
def unpin(archive_id: int) -> ResponseReturnValue:
    """Let retention decide about it again."""
    points.unpin(archive_id, actor=current_actor(), now=request_time())
    toast("Unpinned. Retention decides about it again.")
    return _back(archive_id)


@bp.get("/restore-points/<int:archive_id>/delete")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def delete_form(archive_id: int) -> ResponseReturnValue:
    """What would be lost; for one in the trash, for good."""
    return _ask(archive_id, None, 200)


@bp.post("/restore-points/<int:archive_id>/delete")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def delete(archive_id: int) -> ResponseReturnValue:
    """Into the trash; 422 without the word, 409 when something changed since it was asked."""
    typed, digest = request.form.get("typed", ""), request.form.get("digest", "")
    try:
        points.delete(archive_id, typed=typed, digest=digest, actor=current_actor(), now=request_time())
    except (InvalidInput, Conflict) as error:
        return _ask(archive_id, error, 409 if isinstance(error, Conflict) else 422)
    toast("Put into the trash. It can be taken back from there.")
    return see_other("points.trash")


@bp.post("/restore-points/<int:archive_id>/delete-for-good")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def delete_for_good(archive_id: int) -> ResponseReturnValue:
    """Out of the trash, now: its files are removed."""
    typed, digest = request.form.get("typed", ""), request.form.get("digest", "")
    try:
        points.delete_for_good(archive_id, typed=typed, digest=digest, actor=current_actor(), now=request_time())
    except (InvalidInput, Conflict) as error:
        return _ask(archive_id, error, 409 if isinstance(error, Conflict) else 422)
    toast("Deleted for good.")
    return see_other("points.trash")


@bp.post("/restore-points/<int:archive_id>/take-back")
@permission(Role.OPERATOR)
def take_back(archive_id: int) -> ResponseReturnValue:
    """Out of the trash, as it was."""
    points.take_back(archive_id, actor=current_actor(), now=request_time())
    toast("Taken back.")
    return _back(archive_id)


def _ask(archive_id: int, error: InvalidInput | Conflict | None, status: int) -> ResponseReturnValue:
    preview = points.deletion_preview(archive_id, now=request_time())
    days = get_settings().trash_days
    return render_template(
        "points/delete.html", preview=preview, archive=preview.archive, error=error, days=days
    ), status


def _back(archive_id: int) -> ResponseReturnValue:
    return see_other("archives.list", _anchor=f"archive-{archive_id}")
