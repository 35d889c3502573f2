"""Uploads: proved before they count, kept apart when they fail, and limited in size."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import BOB, CHARLIE
from tests.support.archives import odoo_zip
from webapp.core.errors import ArchiveError, HoldfastError, InvalidInput, SourceError
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ArchiveOrigin, ArchiveState, Content, RestoreTarget, VerificationStatus
from webapp.services import archives, sweeper
from webapp.services.restores import RestoreWish, choices_for, request_check
from webapp.services.uploads import receive
from webapp.services.wiring import Wiring, install
from webapp.store.db import db
from webapp.store.models import Archive, AuditEvent

pytestmark = pytest.mark.usefixtures("service")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def upload() -> bytes:
    return odoo_zip([b"one", b"two"])


def test_an_odoo_zip_becomes_a_restore_point(upload: bytes, wiring: Wiring) -> None:
    archive = receive(io.BytesIO(upload), "acme_2026-11-20_08-00-00.zip", len(upload), actor=BOB, now=now())

    stored = archives.get_archive(archive.id)
    assert (stored.state, stored.origin, stored.instance_id) == (ArchiveState.STORED, ArchiveOrigin.UPLOAD, None)
    assert stored.verification_status is VerificationStatus.PASSED
    assert stored.content is Content.DATABASE_AND_FILESTORE
    assert Path(archives.file_path(stored)).read_bytes() == upload
    assert stored.sha256 == hashlib.sha256(upload).hexdigest()
    assert RestoreTarget.NEW_DATABASE in choices_for(stored, now()).targets
    assert db.session.scalars(sa.select(AuditEvent.event)).all() == ["archive.uploaded"]
    sweeper.sweep(now())
    assert archives.get_archive(archive.id).state is ArchiveState.STORED
    assert Path(archives.file_path(archives.get_archive(archive.id))).is_file()
    wish = RestoreWish(archive.id, RestoreTarget.DIRECTORY, options=RestoreOptions(directory="out"))
    assert request_check(wish, actor=BOB, now=now()).id


def test_what_is_no_archive_leaves_nothing(wiring: Wiring) -> None:
    with pytest.raises(ArchiveError):
        receive(io.BytesIO(b"hello " * 1000), "acme.zip", None, actor=BOB, now=now())

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Archive)) == 0
    assert [path for path in wiring.archive_directory.rglob("*") if path.is_file()] == [
        wiring.archive_directory / ".holdfast-store"
    ]


def test_one_that_broke_off_is_refused(upload: bytes) -> None:
    with pytest.raises(SourceError):
        receive(io.BytesIO(upload[:-100]), "acme.zip", len(upload), actor=BOB, now=now())


def test_one_that_is_not_what_it_should_be_is_refused(upload: bytes) -> None:
    with pytest.raises(HoldfastError):
        receive(io.BytesIO(upload), "acme.zip", len(upload), actor=BOB, now=now(), sha256="0" * 64)


def test_the_limit_holds_whatever_the_sender_says(upload: bytes, wiring: Wiring) -> None:
    install(replace(wiring, upload_limit_bytes=100))

    with pytest.raises(InvalidInput):
        receive(io.BytesIO(upload), "acme.zip", len(upload), actor=BOB, now=now())
    with pytest.raises(HoldfastError):
        receive(io.BytesIO(upload), "acme.zip", None, actor=BOB, now=now())
    with pytest.raises(HoldfastError, match="operators"):
        receive(io.BytesIO(upload), "acme.zip", None, actor=CHARLIE, now=now())
