"""Files of a snapshot put back: chosen, tried without changing anything, looked at, and then done."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import Conflict, InvalidInput
from webapp.core.restore_effects import count_changed, effects_in_words
from webapp.core.status import Role, SnapshotTarget
from webapp.services import hosts, snapshot_restores, snapshots
from webapp.services.restore_rules import restore_root
from webapp.services.snapshot_restores import FileRestoreWish
from webapp.services.task_pages import get_task_page
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.file_paths import download_name, read_paths
from webapp.web.forms.draft_state import FormState, refused
from webapp.web.htmx import page_or_partial, see_other

bp = Blueprint("snapshot_restores", __name__)

NOTHING_WRONG = FormState()


@bp.get("/snapshots/<int:archive_id>/restore")
@permission(Role.OPERATOR)
def new(archive_id: int) -> ResponseReturnValue:
    """Where to: ``?path=`` (several; none means all of it) ``&target= &target_path= &target_instance_id= &delete_others=``."""
    return _form(archive_id, request.args)


@bp.post("/snapshots/<int:archive_id>/restore")
@permission(Role.OPERATOR)
def create(archive_id: int) -> ResponseReturnValue:
    """Ask a worker what would change."""
    snapshots.get_snapshot(archive_id)
    try:
        wish = _wish(archive_id, request.form)
        preview = snapshot_restores.request_dry_run(wish, actor=current_actor(), now=request_time())
    except InvalidInput as error:
        return _form(archive_id, request.form, refused(_at_its_field(error)))
    return see_other("snapshot_restores.show", restore_id=preview.id)


@bp.get("/snapshot-restores/<int:restore_id>")
@permission(Role.VIEWER)
def show(restore_id: int) -> ResponseReturnValue:
    """A dry run or a restore, live. Blocks "head", "progress", "steps", "results" for the polls."""
    return page_or_partial("snapshot_restores/show.html", "head", "progress", "steps", "results", **_page(restore_id))


@bp.get("/snapshot-restores/<int:restore_id>/confirm")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def ask(restore_id: int) -> ResponseReturnValue:
    """Say what will be overwritten and removed."""
    return _question(restore_id)


@bp.post("/snapshot-restores/<int:restore_id>/confirm")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def confirm(restore_id: int) -> ResponseReturnValue:
    """Do what the dry run showed."""
    digest = request.form.get("digest", "")[:128]
    try:
        restore = snapshot_restores.confirm(restore_id, digest=digest, actor=current_actor(), now=request_time())
    except (InvalidInput, Conflict) as error:
        return _question(restore_id, error)
    return see_other("snapshot_restores.show", restore_id=restore.id)


def _wish(archive_id: int, given: Any) -> FileRestoreWish:
    """What the form asks for; which of it is possible is the service's to say."""
    word = given.get("target", "")
    if word not in tuple(SnapshotTarget):
        raise InvalidInput("Choose where the files go.", field="target")
    target = SnapshotTarget(word)
    host = given.get("target_instance_id", type=int) if target is SnapshotTarget.OTHER_HOST else None
    in_place = target is SnapshotTarget.HOST and given.get("in_place", "1") == "1"
    typed = given.get("directory" if target is SnapshotTarget.DIRECTORY else "target_path", "")
    return FileRestoreWish(
        archive_id=archive_id,
        paths=read_paths(given),
        target=target,
        target_path="/" if in_place else typed.strip()[:1024],
        target_instance_id=host,
        delete_others=given.get("delete_others") == "1",
    )


def _at_its_field(error: InvalidInput) -> InvalidInput:
    """The refusal at the field of the form that it is about: a directory of this machine has a field of its own."""
    if error.field != "target_path" or request.form.get("target") != SnapshotTarget.DIRECTORY.value:
        return error
    return InvalidInput(error.message, field="directory", hint=error.hint)


def _form(archive_id: int, given: Any, state: FormState = NOTHING_WRONG) -> Response:
    record = snapshots.get_snapshot(archive_id)
    host_lives = snapshots.is_host_there(record.archive)
    draft = {
        "target": given.get("target") or (SnapshotTarget.HOST if host_lives else SnapshotTarget.DIRECTORY).value,
        "in_place": given.get("in_place", "1"),
        "target_path": given.get("target_path", ""),
        "directory": given.get("directory") or download_name(f"{record.directory}-{record.name}", "files"),
        "target_instance_id": given.get("target_instance_id", ""),
        "delete_others": given.get("delete_others") == "1",
    }
    others = [host.instance for host in hosts.list_hosts() if host.instance_id != record.archive.instance_id]
    body = render_template(
        "snapshot_restores/new.html",
        record=record,
        archive=record.archive,
        host_lives=host_lives,
        paths=read_paths(given) if "path" not in state.errors else (),
        draft=draft,
        state=state,
        errors=state.errors,
        others=others,
        directory_root=restore_root(),
    )
    return make_response(body, state.status)


def _page(restore_id: int) -> dict[str, Any]:
    restore, now = snapshot_restores.get_restore(restore_id), request_time()
    confirmed = snapshot_restores.find_confirmed(restore_id) if restore.dry_run else None
    ready = restore.dry_run and restore.status.is_final and confirmed is None
    return {
        "restore": restore,
        "task": restore,
        "record": snapshots.get_snapshot(restore.archive_id),
        "seen": get_task_page(restore, now),
        "confirmed": confirmed,
        "why_not": snapshot_restores.why_not_confirmable(restore, now) if ready else "",
        "changed": count_changed(restore.counts),
        "effects": effects_in_words(restore.counts, dry_run=restore.dry_run),
        "changes": [_in_words(line) for line in restore.changes[:1000]],
        "now": now,
    }


def _in_words(line: str) -> tuple[str, str, str]:
    """A line of rsync's as (what becomes of it, path, rsync's own letters); see --itemize-changes in rsync(1)."""
    flags, _, name = line.partition(" ")
    name = "/" + name.strip().lstrip("/")
    if flags.startswith("*deleting"):
        return "removed", name, flags
    if "+++" in flags:
        return "new", name, flags
    return "attributes" if flags.startswith(".") else "changed", name, flags


def _question(restore_id: int, error: InvalidInput | Conflict | None = None) -> ResponseReturnValue:
    page = _page(restore_id)
    restore = page["restore"]
    settled = page["why_not"] or page["confirmed"] is not None or not restore.dry_run or not page["changed"]
    if error is None and settled:
        return see_other("snapshot_restores.show", restore_id=restore_id)
    digest = snapshot_restores.preview_digest(restore)
    body = render_template("snapshot_restores/confirm.html", **page, digest=digest, error=error)
    return make_response(body, 200 if error is None else 422 if isinstance(error, InvalidInput) else 409)
