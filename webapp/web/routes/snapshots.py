"""Snapshots of hosts: what one is, its files browsed, searched and handed out, what changed, and what its host says now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wsgi import FileWrapper

from webapp.core.errors import InvalidInput, NotFound
from webapp.core.reports import Check
from webapp.core.status import Role, SnapshotLayout
from webapp.services import snapshot_comparisons, snapshot_files, snapshot_restores, snapshots
from webapp.services.points_pages import find_kept
from webapp.services.snapshots import SnapshotFilter
from webapp.web.access import current_actor, permission, request_time
from webapp.web.file_paths import download_name, parts_of, read_path, read_paths
from webapp.web.htmx import page_or_partial, see_other
from webapp.web.tables import page_number

bp = Blueprint("snapshots", __name__, url_prefix="/snapshots")

PAGE = 200
MOST_FOUND = 200
FIRST_CHANGES = 200
SIBLINGS = 60
# One file as it is, or many packed while they are read.
PACKERS: dict[str, tuple[str, Callable[..., Iterable[bytes]]]] = {
    "tar": ("application/x-tar", snapshot_files.tar_stream),
    "zip": ("application/zip", snapshot_files.zip_stream),
}


@bp.get("/<int:archive_id>")
@permission(Role.VIEWER)
def show(archive_id: int) -> ResponseReturnValue:
    """One snapshot: its numbers, what was proved of it, its neighbours. Block "proofs" for the poll."""
    head = _head(archive_id, "overview")
    archive, now = head["archive"], head["now"]
    comparison = snapshot_comparisons.newest_comparison(archive_id)
    return page_or_partial(
        "snapshots/show.html",
        "proofs",
        **head,
        checks=[Check.from_json(item) for item in archive.report],
        comparison=comparison,
        compared=[Check.from_json(item) for item in comparison.checks] if comparison is not None else [],
        restores=snapshot_restores.list_restores(archive_id)[:8],
        kept=find_kept([archive], now).get(archive.id),
    )


@bp.get("/<int:archive_id>/files")
@permission(Role.VIEWER)
def files(archive_id: int) -> ResponseReturnValue:
    """One directory of it; ``?path= &page=``."""
    head, path, page = _head(archive_id, "files"), read_path(request.args.get("path", "")), page_number()
    listing = snapshot_files.browse(archive_id, path, offset=(page - 1) * PAGE, limit=PAGE)
    return render_template(
        "snapshots/files.html", **head, listing=listing, path=path, parts=parts_of(path), page=page, page_size=PAGE
    )


@bp.get("/<int:archive_id>/search")
@permission(Role.VIEWER)
def search(archive_id: int) -> ResponseReturnValue:
    """Files whose path holds ``?q=``, or matches it as a pattern."""
    head, words = _head(archive_id, "files"), request.args.get("q", "").strip()[:500]
    found = snapshot_files.search(archive_id, words, limit=MOST_FOUND + 1) if words else []
    return render_template(
        "snapshots/search.html", **head, words=words, found=found[:MOST_FOUND], more=len(found) > MOST_FOUND
    )


@bp.get("/<int:archive_id>/download")
@permission(Role.OPERATOR)
def download(archive_id: int) -> ResponseReturnValue:
    """``?path=`` (several) ``&as=file|tar|zip``. Files may hold everything the host holds, so a viewer may not have them."""
    paths, packed = read_paths(request.args) or ("/",), request.args.get("as", "file")
    record = snapshots.get_snapshot(archive_id)
    name = download_name(paths[0], "") or f"{record.directory}-{record.name}".replace("/", "-")
    if packed == "file":
        return _one_file(archive_id, paths, name)
    if packed not in PACKERS:
        raise InvalidInput("Choose file, tar or zip.", field="as")
    media_type, pack = PACKERS[packed]
    stream = pack(archive_id, paths, actor=current_actor(), now=request_time())
    return _attachment(Response(stream, mimetype=media_type), f"{name}.{packed}")


@bp.get("/<int:archive_id>/changes")
@permission(Role.VIEWER)
def changes(archive_id: int) -> ResponseReturnValue:
    """What became otherwise since another snapshot: ``?with=``, else the one before."""
    head = _head(archive_id, "changes")
    other_id = request.args.get("with", type=int)
    other = snapshots.get_snapshot(other_id) if other_id is not None else head["before"]
    found = None
    if head["there"] and other is not None and other.archive_id != archive_id:
        found = snapshot_files.compare(other.archive_id, archive_id, first=FIRST_CHANGES)
    siblings, _ = snapshots.list_snapshots(SnapshotFilter(instance_id=head["archive"].instance_id, limit=SIBLINGS))
    return render_template(
        "snapshots/changes.html",
        **head,
        other=other,
        found=found,
        siblings=[record for record in siblings if record.archive_id != archive_id],
    )


@bp.post("/<int:archive_id>/compare")
@permission(Role.OPERATOR)
def compare(archive_id: int) -> ResponseReturnValue:
    """Compare a sample of it with what the host has now."""
    snapshot_comparisons.request_comparison(archive_id, actor=current_actor(), now=request_time())
    return see_other("snapshots.show", archive_id=archive_id, _anchor="comparison")


def _head(archive_id: int, tab: str) -> dict[str, Any]:
    """What every tab needs."""
    record = snapshots.get_snapshot(archive_id)
    archive = record.archive
    return {
        "record": record,
        "archive": archive,
        "there": archive.state.value in ("stored", "quarantined"),
        "listed": record.layout is SnapshotLayout.OURS,
        "host_lives": snapshots.is_host_there(archive),
        "before": snapshots.find_before(record),
        "tab": tab,
        "now": request_time(),
    }


def _one_file(archive_id: int, paths: tuple[str, ...], name: str) -> Response:
    if len(paths) != 1:
        raise NotFound("Which file?")
    file, size = snapshot_files.open_file(archive_id, paths[0], actor=current_actor(), now=request_time())
    response = Response(FileWrapper(file, 256 * 1024), mimetype="application/octet-stream", direct_passthrough=True)
    response.content_length = size
    return _attachment(response, name)


def _attachment(response: Response, name: str) -> Response:
    """Never shown in the browser: what a host's files hold is not ours to run or draw."""
    response.headers.set("Content-Disposition", "attachment", filename=name)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
