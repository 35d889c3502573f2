"""Restore points by hand: pinned for ever, deleted with care, taken back from the trash.

Deleting is asked for twice: ``deletion_preview`` says what would be lost, ``delete`` does it when nothing has changed since
(the preview's digest) and the word was typed where the last copy, or the last verified one, would go.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.errors import Conflict, InvalidInput, StoreError
from webapp.core.status import ArchiveState
from webapp.core.text import strip_controls
from webapp.services import audit
from webapp.services.archive_use import find_use
from webapp.services.archives import get_archive
from webapp.services.snapshot_places import is_snapshot, is_tree_there
from webapp.services.store import the_shelf
from webapp.services.trash import finish_deletion, is_good, lock_archives, put_back, put_in_trash
from webapp.store.db import db, release, writing
from webapp.store.models import Archive

LONGEST_NOTE = 255
DELETABLE = (ArchiveState.STORED, ArchiveState.QUARANTINED, ArchiveState.MISSING)


@dataclass(frozen=True, slots=True)
class DeletionPreview:
    """What deleting an archive would mean now.

    Attributes:
        must_type: The word that a person has to type, "" where none is needed.
        last_copy: No other restore point of this database (a snapshot: of its job) is stored.
        last_verified: No other verified one is.
        others: How many other restore points of the database are stored; ``others_verified`` of them are verified.
        obstacle: Why it cannot be deleted now, as a sentence, or "".
        digest: What was decided on; another one means that something changed in between.
    """

    archive: Archive
    must_type: str
    last_copy: bool
    last_verified: bool
    others: int
    others_verified: int
    obstacle: str
    digest: str


def pin(archive_id: int, note: str, *, actor: Actor, now: datetime) -> Archive:
    """Keep it for ever; a second pin changes the note. Raises NotFound, Conflict, InvalidInput."""
    clean = strip_controls(note).strip()
    if len(clean) > LONGEST_NOTE:
        raise InvalidInput(f"The note is longer than {LONGEST_NOTE} characters.", field="note")
    with writing():
        archive = get_archive(archive_id)
        if archive.state not in DELETABLE:
            raise Conflict(f"Restore point {archive_id} is no longer stored, so it cannot be pinned.")
        archive.pinned_at, archive.pinned_by, archive.pin_note = archive.pinned_at or now, actor.username, clean
        _record(actor, "archive.pinned", archive, {"note": clean}, now)
    return archive


def unpin(archive_id: int, *, actor: Actor, now: datetime) -> Archive:
    """Let the retention policy decide again. Raises NotFound."""
    with writing():
        archive = get_archive(archive_id)
        if archive.pinned_at is not None:
            details = {"note": archive.pin_note, "pinned_by": archive.pinned_by}
            archive.pinned_at, archive.pinned_by, archive.pin_note = None, "", ""
            _record(actor, "archive.unpinned", archive, details, now)
    return archive


def deletion_preview(archive_id: int, *, now: datetime) -> DeletionPreview:
    """What deleting it would mean: into the trash, or, for one that is there, out of it for good. Raises NotFound."""
    archive = get_archive(archive_id)
    others = _others(archive)
    good = [other for other in others if is_good(other)]
    last_verified = is_good(archive) and not good
    must_type = _word_for(archive) if last_verified or not others else ""
    return DeletionPreview(
        archive=archive,
        must_type=must_type,
        last_copy=not others,
        last_verified=last_verified,
        others=len(others),
        others_verified=len(good),
        obstacle=_find_obstacle(archive, now),
        digest=_digest(archive, must_type, others),
    )


def delete(archive_id: int, *, typed: str, digest: str, actor: Actor, now: datetime) -> Archive:
    """Put it in the trash. Raises NotFound, InvalidInput (the word), Conflict (in use, pinned, or changed since the preview)."""
    with writing():
        preview = _confirmed(archive_id, typed, digest, now, (*DELETABLE,))
        put_in_trash(preview.archive, reason=f"deleted by {actor.username}", by=actor.username, now=now)
        _record(actor, "archive.trashed", preview.archive, _evidence(preview), now)
    return preview.archive


def take_back(archive_id: int, *, actor: Actor, now: datetime) -> Archive:
    """Out of the trash, as it was. Raises NotFound, Conflict when it is not in the trash any more."""
    archive = get_archive(archive_id)
    present = archive.state is ArchiveState.TRASHED and _is_present(archive)
    with writing():
        archive = get_archive(archive_id)
        if archive.state is not ArchiveState.TRASHED:
            raise Conflict(f"Restore point {archive_id} is not in the trash ({archive.state.value}).")
        details = {"reason": archive.delete_reason, "trashed_by": archive.trashed_by}
        put_back(archive, present=present)
        _record(actor, "archive.taken_back", archive, details, now)
    return archive


def delete_for_good(archive_id: int, *, typed: str, digest: str, actor: Actor, now: datetime) -> Archive:
    """Remove a trashed archive's files before its grace is over, as when the disk is full. Raises as ``delete``."""
    with writing():
        preview = _confirmed(archive_id, typed, digest, now, (ArchiveState.TRASHED,))
        preview.archive.state = ArchiveState.DELETING
        _record(actor, "archive.deleted", preview.archive, _evidence(preview), now)
    release()
    finish_deletion(archive_id, now)
    return get_archive(archive_id)


def _confirmed(
    archive_id: int, typed: str, digest: str, now: datetime, states: Sequence[ArchiveState]
) -> DeletionPreview:
    lock_archives(_same_database(get_archive(archive_id)))
    preview = deletion_preview(archive_id, now=now)
    if preview.archive.state not in states:
        raise Conflict(f"Restore point {archive_id} is {preview.archive.state.value} by now.")
    if preview.obstacle:
        raise Conflict(preview.obstacle)
    if not hmac.compare_digest(preview.digest.encode(), digest.encode("utf-8", "replace")):
        raise Conflict(
            f"What is known about restore point {archive_id} has changed since this was asked.",
            hint="Look again at what would be deleted, then confirm.",
        )
    if preview.must_type and typed.strip() != preview.must_type:
        raise InvalidInput(
            f"Type {preview.must_type} to confirm: this is the last {_words(preview)} of {_source(preview.archive)}.",
            field="typed",
        )
    return preview


def _words(preview: DeletionPreview) -> str:
    return "restore point" if preview.last_copy else "verified restore point"


def _source(archive: Archive) -> str:
    return "the host" if is_snapshot(archive) else "the database"


def _word_for(archive: Archive) -> str:
    """What names the thing that the last copy would go of."""
    return archive.instance_name if is_snapshot(archive) else archive.database_name


def _is_present(archive: Archive) -> bool:
    return is_tree_there(archive.id) if is_snapshot(archive) else the_shelf().exists(archive.relative_path)


def _find_obstacle(archive: Archive, now: datetime) -> str:
    if archive.pinned_at is not None:
        return f"Restore point {archive.id} is pinned. Unpin it first."
    if use := find_use(archive.id, now):
        return f"Restore point {archive.id} is {use}. Wait until that has ended."
    return _root_away(archive)


def _root_away(archive: Archive) -> str:
    """Why a snapshot's tree could not be removed now: its disk is not mounted, or another tool's root has no marker of ours."""
    try:
        if is_snapshot(archive):
            is_tree_there(archive.id)
    except StoreError as error:
        return error.message
    return ""


def _same_database(archive: Archive) -> sa.ColumnElement[bool]:
    """Of the same database, whichever job made it; a snapshot: of the same job, since another one takes other paths."""
    same = (
        Archive.instance_id == archive.instance_id
        if archive.instance_id is not None
        else sa.and_(Archive.instance_id.is_(None), Archive.instance_name == archive.instance_name)
    )
    same = sa.and_(same, Archive.database_name == archive.database_name)
    if is_snapshot(archive) and archive.job_id is not None:
        return sa.and_(same, Archive.job_id == archive.job_id)
    return same


def _others(archive: Archive) -> Sequence[Archive]:
    """The other stored archives of the same database."""
    query = sa.select(Archive).where(
        _same_database(archive), Archive.state == ArchiveState.STORED, Archive.id != archive.id
    )
    return db.session.scalars(query.order_by(Archive.id), execution_options={"populate_existing": True}).all()


def _digest(archive: Archive, must_type: str, others: Sequence[Archive]) -> str:
    seen = [archive.id, archive.state.value, is_good(archive), must_type, [(o.id, is_good(o)) for o in others]]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _evidence(preview: DeletionPreview) -> Mapping[str, object]:
    return {"others": preview.others, "others_verified": preview.others_verified, "digest": preview.digest}


def _record(actor: Actor, event: str, archive: Archive, details: Mapping[str, object], now: datetime) -> None:
    name = f"{archive.instance_name} / {archive.database_name}"
    audit.record(
        actor, event, subject_kind="archive", subject_id=archive.id, subject_name=name, details=details, now=now
    )
