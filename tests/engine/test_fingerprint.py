"""What a verification notes for the sentinel, from real archives."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from tests.support.archives import copy_block, odoo_dump, odoo_manifest, odoo_zip, python_zip, store_name, written
from webapp.core.sentinel import Fingerprint, Severity, compare
from webapp.core.status import ArchiveFormat, ErrorCode, VerificationLevel
from webapp.engine.archive.dump_scan import DumpScanner
from webapp.engine.archive.traits import AdministratorLedger, looks_like_noise
from webapp.engine.report import SilentReporter
from webapp.engine.verify import Expectation, verify_archive

GROUPS = ("ir_model_data", ("id", "res_id", "name", "module", "model"))
MEMBERS = ("res_groups_users_rel", ("gid", "uid"))
USERS = ("res_users", ("id", "active", "login", "password"))
DATA = {
    "ir_model_data": [
        ("1", "2", "group_erp_manager", "base", "res.groups"),
        ("2", "3", "group_system", "base", "res.groups"),
        ("3", "9", "group_system", "other", "res.groups"),
        ("4", "7", "group_system_extra", "base", "res.groups"),
        ("5", "1", "group_user", "base", "res.groups"),
    ],
    "res_groups_users_rel": [("3", "2"), ("2", "2"), ("1", "5"), ("2", "6"), ("9", "7"), ("3", "8"), ("3", "1")],
    "res_users": [
        ("1", "f", "__system__", "\\N"),
        ("2", "t", "admin", "x"),
        ("5", "t", "bob", "x"),
        ("6", "t", "al\\tice", "x"),
        ("7", "t", "mallory", "x"),
        ("8", "f", "gone", "x"),
    ],
}


def blocks(order: tuple[str, ...]) -> bytes:
    headers = dict([GROUPS, MEMBERS, USERS])
    return b"".join(copy_block(f"public.{name}", headers[name], DATA[name]) for name in order)


def fingerprint(directory: Path, data: bytes, *, kind: ArchiveFormat = ArchiveFormat.ZIP) -> Fingerprint:
    expectation = Expectation(
        archive_format=kind,
        database="prod",
        is_odoo=True,
        has_filestore=True,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        own_snapshot=True,
    )
    report = verify_archive(
        written(directory, data), expectation, VerificationLevel.COMPLETE, SilentReporter(), from_disk=False
    )
    found = Fingerprint.from_json(report.fingerprint)
    assert found is not None
    return found


def texts(count: int) -> list[bytes]:
    return [f"Offer number {number}\n".encode() * 200 for number in range(count)]


@pytest.mark.parametrize(
    "order",
    [
        ("ir_model_data", "res_groups_users_rel", "res_users"),
        ("res_users", "res_groups_users_rel", "ir_model_data"),
        ("res_groups_users_rel", "ir_model_data", "res_users"),
        ("ir_model_data", "res_users", "res_groups_users_rel"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_active_members_of_the_two_groups_are_the_administrators(order: tuple[str, ...], piece: int) -> None:
    dump, ledger = blocks(order), AdministratorLedger()
    scanner = DumpScanner(ledger.picks())

    for start in range(0, len(dump), piece):
        scanner.feed(dump[start : start + piece])

    assert ledger.conclude(scanner.finish().picked) == ("admin", "al\tice")


def test_a_dump_without_the_three_tables_does_not_tell() -> None:
    dump, ledger = blocks(("ir_model_data", "res_users")), AdministratorLedger()
    scanner = DumpScanner(ledger.picks())
    scanner.feed(dump)

    assert ledger.conclude(scanner.finish().picked) is None


def test_a_fingerprint_counts_what_the_archive_holds(tmp_path: Path) -> None:
    files = [*texts(30), os.urandom(5000), b"\x89PNG\r\n\x1a\n" + os.urandom(5000), b"tiny"]

    found = fingerprint(tmp_path, odoo_zip(files))

    assert found.size_bytes == (tmp_path / "archive.zip").stat().st_size
    assert (found.attachment_count, found.mismatched) == (33, 0)
    assert (found.sampled, found.opaque) == (32, 1)
    assert found.files_plain == sum(map(len, files))
    assert 10_000 < (found.files_packed or 0) < 15_000
    assert found.tables == {"public.ir_attachment": 34}
    assert (found.dump_plain or 0) > (found.dump_packed or 0) > 0


def test_an_encrypted_filestore_is_a_blow_of_both_kinds(tmp_path: Path) -> None:
    files = texts(400)
    before = fingerprint(tmp_path, odoo_zip(files))
    noise = random.Random(1)
    encrypted = {f"filestore/{store_name(content)}": noise.randbytes(len(content)) for content in files}
    taken = python_zip({"dump.sql": odoo_dump(files), "manifest.json": odoo_manifest(), **encrypted})

    findings = compare(fingerprint(tmp_path, taken), [before] * 3)

    assert {finding.code for finding in findings if finding.severity is Severity.BLOW} == {ErrorCode.CONTENT_CHANGED}
    words = " ".join(finding.text for finding in findings)
    assert "do not have the content that their name promises" in words
    assert "look like noise" in words
    assert "no longer compresses" in words


def test_what_cannot_be_read_has_a_size_and_nothing_else(tmp_path: Path) -> None:
    assert fingerprint(tmp_path, b"nonsense" * 100) == Fingerprint(size_bytes=800)


def test_noise_is_told_from_text_and_from_known_kinds() -> None:
    noise = random.Random(2)

    assert all(looks_like_noise(noise.randbytes(128)) for _ in range(500))
    assert not looks_like_noise((bytes(range(65, 91)) * 9)[:128])
    assert not looks_like_noise(b"%PDF-1.7" + noise.randbytes(120))
    assert not looks_like_noise(b"\x00\x00\x00\x20ftypisom" + noise.randbytes(116))
