"""Hosts: the list of them, many added from a file, all of them as a file, and what can be done with one."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.status import Role
from webapp.core.text import plural
from webapp.services import host_files, snapshot_discovery, snapshots
from webapp.services.host_files import HostImport
from webapp.services.host_pages import list_host_rows
from webapp.services.instances import get_instance
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.htmx import page_or_partial, see_other, toast

bp = Blueprint("hosts", __name__)

LARGEST_FILE_BYTES = 900_000
READERS = {"csv": host_files.read_csv, "yaml": host_files.read_yaml}


@bp.get("/hosts", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """All hosts by name: reachable, pinned, newest snapshot, room for the next one. Block "rows" for the poll."""
    now = request_time()
    return page_or_partial("hosts/list.html", "rows", rows=list_host_rows(now), now=now)


@bp.get("/hosts/import")
@permission(Role.ADMIN)
@requires_recent_sign_in
def import_form() -> ResponseReturnValue:
    """Paste or choose a file."""
    return _import_page("", "csv")


@bp.post("/hosts/import")
@permission(Role.ADMIN)
@requires_recent_sign_in
def add_imported() -> ResponseReturnValue:
    """Show what a file would add; with ``then=add`` and nothing wrong, add all of it."""
    kind = request.form.get("kind", "csv")
    text, then = "", request.form.get("then", "preview")
    try:
        text = _text_sent()
        found = READERS.get(kind, host_files.read_csv)(text, request_time())
        if then == "add" and found.is_good:
            added = host_files.apply_import(found, actor=current_actor(), now=request_time())
            toast(_done(len(added)))
            return see_other("hosts.list")
    except InvalidInput as error:
        return _import_page(text, kind, error=error)
    return _import_page(text, kind, found)


@bp.get("/hosts/template.csv")
@permission(Role.ADMIN)
def template() -> ResponseReturnValue:
    """The heading line and an example, to fill in."""
    return _file(host_files.csv_template(), "text/csv", "hosts.csv")


@bp.get("/hosts/export.yaml")
@permission(Role.ADMIN)
def export() -> ResponseReturnValue:
    """All hosts with their jobs, and the defaults that they share; no secret in it."""
    return _file(host_files.export_yaml(), "application/yaml", "holdfast-hosts.yaml")


@bp.post("/instances/<int:instance_id>/discover")
@permission(Role.OPERATOR)
def discover(instance_id: int) -> ResponseReturnValue:
    """Look on disk for snapshots that are in no list."""
    get_instance(instance_id)
    task = snapshot_discovery.request_discovery(instance_id, actor=current_actor(), now=request_time())
    return see_other("tasks.show", task_id=task.id)


@bp.post("/runs/<int:run_id>/accept-shrink")
@permission(Role.OPERATOR)
@requires_recent_sign_in
def accept_shrink(run_id: int) -> ResponseReturnValue:
    """The host really has so few files: the next snapshot may be taken."""
    snapshots.accept_shrink(run_id, actor=current_actor(), now=request_time())
    toast("Noted. The next run of this host passes once; start it with Retry.")
    return see_other("runs.show", run_id=run_id)


def _done(added: int) -> str:
    if not added:
        return "What all hosts share is changed."
    return f"Added {added} {plural(added, 'host', 'hosts')}. Each needs its line in authorized_keys now."


def _text_sent() -> str:
    """The chosen file, else what was pasted."""
    sent = request.files.get("file")
    raw = sent.stream.read(LARGEST_FILE_BYTES + 1) if sent is not None and sent.filename else b""
    if not raw:
        raw = request.form.get("text", "").encode()
    if len(raw) > LARGEST_FILE_BYTES:
        raise InvalidInput("This file is longer than 900 kB.", field="file", hint="Split it.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("This file is not UTF-8 text.", field="file", hint="Save it as CSV UTF-8.") from None
    if not text.strip():
        raise InvalidInput("There is nothing to read.", field="file", hint="Choose a file, or paste its lines.")
    return text


def _import_page(
    text: str, kind: str, found: HostImport | None = None, *, error: InvalidInput | None = None
) -> Response:
    body = render_template(
        "hosts/import.html", text=text, kind=kind, found=found, error=error, columns=host_files.CSV_COLUMNS
    )
    bad = error is not None or (found is not None and bool(found.all_problems))
    return make_response(body, 422 if bad else 200)


def _file(text: str, media_type: str, name: str) -> Response:
    response = Response(text, mimetype=media_type)
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
