"""The look at where a restored filestore would lie."""

from __future__ import annotations

from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode
from webapp.core.text import format_size
from webapp.engine.answers import Answer, good
from webapp.engine.archive.rights import rights_of
from webapp.engine.report import Reporter
from webapp.engine.restore.archive_look import refuse
from webapp.engine.restore.filling import place_and_paths
from webapp.engine.restore.places import LocalPlace

_RESERVE_BYTES = 64 * 1024 * 1024


def look_at_filestore(plan: RestorePlan, replaces: bool, reporter: Reporter) -> tuple[Answer, int | None]:
    """The answer, and how much is free there."""
    place, paths = place_and_paths(plan, reporter)
    if isinstance(place, LocalPlace):
        rights_of(plan.options)  # Raises InvalidInput for an owner or mode that there is not.
    free = place.free_bytes(paths.parent, reporter)
    for path in (paths.temporary, paths.kept if replaces else paths.final):
        if path and place.inode(path, reporter) is not None:
            hint = "It may be left from a database dropped outside Odoo. Move it away, or choose another name."
            return refuse(f"There is a directory {path} already.", ErrorCode.TARGET_EXISTS, hint), free
    why = place.why_not_writable(paths.parent, reporter)
    if why:
        return refuse(
            f"No filestore can be made: {why}.", ErrorCode.PERMISSION_DENIED, "Give Holdfast's user the right."
        ), free
    needed = plan.manifest.filestore_bytes + _RESERVE_BYTES
    if free is not None and free < needed:
        detail = f"{format_size(free)} are free at {paths.parent}; {format_size(needed)} are needed."
        return refuse(detail, ErrorCode.DISK_FULL, "Free space there.", format_size(free)), free
    room = f"{format_size(free)} are free there" if free is not None else "how much is free there cannot be told"
    kept = f"; the one there is kept as {paths.kept}" if replaces and place.inode(paths.final, reporter) else ""
    return good(f"Files will lie in {paths.final}{kept}; {room}.", format_size(free or 0)), free
