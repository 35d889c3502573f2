"""A snapshot's manifest comes back as it was written, is refused when it is anything else, and is documented."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from webapp.core.errors import ArchiveError
from webapp.core.snapshot_manifest import SnapshotManifest, parse_snapshot_manifest

DOC = Path(__file__).parents[2] / "docs" / "snapshot-format.md"

MANIFEST = SnapshotManifest(
    run_id=418,
    fence=1,
    attempt=1,
    job_id=7,
    instance_id=3,
    instance_uid="a-b-c",
    instance_name="web-01",
    name="20261122T021500Z",
    base="20261121T021500Z",
    paths=("/etc", "/srv"),
    digest="xxh128",
    list_sha256="ab" * 32,
    list_bytes=4096,
    started_at="2026-11-22T02:15:00+00:00",
    completed_at="2026-11-22T02:16:40Z",
    holdfast_version="0.1.0",
    file_count=100,
    directory_count=10,
    other_count=3,
    total_bytes=10_000,
    new_files=2,
    new_bytes=200,
    gone_files=1,
    transferred_bytes=180,
    transfer_seconds=1.5,
    unreadable_paths=("/etc/caf\udce9",),
    versions={"rsync": "3.2.7"},
    warnings=({"code": "files_vanished", "message": "One."},),
    verification={"level": "intact", "passed": True, "checks": []},
    labels={"job": "Nightly"},
)


def _rows(heading: str) -> list[tuple[str, str]]:
    text = DOC.read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)


def test_it_comes_back_as_it_was_written_odd_names_too() -> None:
    assert parse_snapshot_manifest(json.loads(MANIFEST.as_bytes())) == MANIFEST


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SnapshotManifest)])
def test_it_is_refused_without_one_of_its_fields(name: str) -> None:
    data = MANIFEST.as_json()
    del data[name]

    with pytest.raises(ArchiveError):
        parse_snapshot_manifest(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "holdfast-archive"},
        {"version": 2},
        {"more": 1},
        {"digest": "sha1"},
        {"file_count": -1},
        {"file_count": True},
        {"started_at": "2026-11-22T02:15:00"},
        {"list_sha256": "AB" * 32},
        {"paths": "/etc"},
        {"labels": {"job": 7}},
        {"verification": {"level": "intact"}},
    ],
    ids=",".join,
)
def test_it_is_refused_with_a_value_it_cannot_have(changes: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError):
        parse_snapshot_manifest({**MANIFEST.as_json(), **changes})


def test_the_page_describes_every_field_in_its_order_and_no_other() -> None:
    assert [name for name, _ in _rows("The manifest, version 1")] == list(MANIFEST.as_json())


def test_the_page_says_the_right_type_of_every_field() -> None:
    words = {
        "text": str,
        "time": str,
        "number": int | float,
        "number or null": int | float | None,
        "list of text": list,
        "list of objects": list,
        "object of text": dict,
        "object or null": dict | None,
    }
    data = MANIFEST.as_json()

    for name, said in _rows("The manifest, version 1"):
        assert isinstance(data[name], words[said]), name
