"""The side-car manifest comes back as it was written, is refused when it is anything else, and is documented."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from webapp.core.errors import ArchiveError
from webapp.core.manifest import Manifest, parse_manifest, verification_summary
from webapp.core.reports import Check, CheckState, VerificationReport
from webapp.core.status import ArchiveFormat, Content, VerificationLevel

DOC = Path(__file__).parents[2] / "docs" / "archive-format.md"


def _manifest() -> Manifest:
    report = VerificationReport(
        VerificationLevel.INTACT, (Check("members", "Archive opens", CheckState.PASSED, "All.", "5"),)
    )
    return Manifest(
        run_id=418,
        fence=2,
        attempt=1,
        job_id=None,
        instance_id=7,
        instance_name="acme – prod",
        database="prod",
        is_odoo=True,
        has_filestore=True,
        content=Content.DATABASE_AND_FILESTORE,
        archive_format=ArchiveFormat.ZIP,
        file_name="20261122-023004_prod.zip",
        size_bytes=12,
        sha256="ab" * 32,
        started_at="2026-11-22T02:30:04+00:00",
        snapshot_at="2026-11-22T02:30:05Z",
        holdfast_version="0.1.0",
        attachment_count=3,
        missing_attachment_count=1,
        missing_attachments=("ab/abcd",),
        table_rows={"public.t": 4, "public.u": 5},
        versions={"odoo": "18.0"},
        warnings=({"code": "attachments_missing", "message": "One."},),
        verification=verification_summary(report),
        labels={"job": "Nightly"},
    )


def _changed(**changes: Any) -> dict[str, Any]:
    return {**_manifest().as_json(), **changes}


def test_it_comes_back_as_it_was_written() -> None:
    text = json.dumps(_manifest().as_json())

    assert parse_manifest(json.loads(text)) == _manifest()
    assert _manifest().row_total == 9


@pytest.mark.parametrize("data", [None, [], "x", {}, {"format": "holdfast-archive"}, {"format": "other", "version": 1}])
def test_something_else_is_refused(data: object) -> None:
    with pytest.raises(ArchiveError):
        parse_manifest(data)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_no_field_may_lack(name: str) -> None:
    data = _manifest().as_json()
    del data[name]

    with pytest.raises(ArchiveError, match=name):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("surprise", 1),
        ("run_id", "418"),
        ("run_id", True),
        ("fence", -1),
        ("size_bytes", 1.5),
        ("job_id", "x"),
        ("database", None),
        ("is_odoo", 1),
        ("content", "everything"),
        ("content", []),
        ("archive_format", "tar"),
        ("file_name", "../etc/passwd"),
        ("file_name", "a/b"),
        ("file_name", ".hidden"),
        ("file_name", ""),
        ("sha256", "AB" * 32),
        ("sha256", "ab"),
        ("started_at", "yesterday"),
        ("started_at", "2026-11-22T02:30:04"),
        ("table_rows", {"t": -1}),
        ("table_rows", {"t": "1"}),
        ("table_rows", []),
        ("missing_attachments", "ab"),
        ("missing_attachments", [1]),
        ("warnings", [{"code": "x"}]),
        ("verification", {"level": "intact"}),
        ("verification", {"level": "intact", "passed": 1, "checks": []}),
        ("versions", {"odoo": 18}),
        ("labels", None),
    ],
)
def test_wrong_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ArchiveError):
        parse_manifest(_changed(**{name: value}))


def test_the_document_names_every_field_and_no_other() -> None:
    section = DOC.read_text().split("## The side-car, version 1")[1].split("\n## ")[0]

    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert documented == list(_manifest().as_json())


def test_the_document_names_every_check() -> None:
    section = DOC.read_text().split("## What a verification asks")[1]

    assert re.findall(r"^\| (?:intact|complete) \| `(\w+)` \|", section, re.MULTILINE) == [
        "archive_digest",
        "members",
        "dump_trailer",
        "required_tables",
        "manifest_matches",
        "row_counts",
        "attachments",
        "comparison",
    ]
