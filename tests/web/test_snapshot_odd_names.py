"""Every name that ever made a program stumble, on the pages of a snapshot: each is shown, opened and handed out as it is."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest
from flask import Flask

from tests.support.app import (
    ALICE,
    Browser,
    Installation,
    RecordingQueue,
    make_wiring,
    service_context,
    signed_in_browser,
)
from tests.support.host_pages import seed_host
from tests.support.host_trees import Fact, make_tree, read_snapshot, read_source, walk
from webapp.core.status import SnapshotLayout
from webapp.services import snapshot_discovery
from webapp.services.snapshot_places import find_at, get_record, place_of
from webapp.store.models import SnapshotRecord

NOW = datetime.now(UTC)


class Seen:
    """A snapshot with a tree of everything, and what it holds."""

    def __init__(self, app: Flask, record: SnapshotRecord) -> None:
        self.archive_id = record.archive_id
        self.tree = Path(place_of(record).tree)
        read = read_snapshot if record.layout is SnapshotLayout.OURS else read_source
        self.facts: Mapping[bytes, Fact] = read(self.tree)
        self.alice: Browser = signed_in_browser(app, "alice")

    @property
    def files(self) -> dict[bytes, Fact]:
        return {name: fact for name, fact in self.facts.items() if fact.kind == "file"}

    def bytes_of(self, name: bytes) -> bytes:
        return Path(os.fsdecode(os.fsencode(self.tree) + b"/" + name)).read_bytes()


@pytest.fixture(scope="module")
def both(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> dict[SnapshotLayout, Seen]:
    directory = tmp_path_factory.mktemp("odd")
    make_tree(directory / "source", files=5)
    app = installation.restore(make_wiring(directory / "data", RecordingQueue()))
    with service_context(app):
        host = seed_host(directory / "source", NOW, backup_root=str(directory / "snapshots"))
        ours_id = host.snapshot_ids[-1]
        ids = (ours_id, found_beside(get_record(ours_id), directory / "source").archive_id)
        return {get_record(each).layout: Seen(app, get_record(each)) for each in ids}


@pytest.fixture(params=list(SnapshotLayout))
def seen(request: pytest.FixtureRequest, both: dict[SnapshotLayout, Seen]) -> Seen:
    return both[request.param]


def found_beside(record: SnapshotRecord, source: Path) -> SnapshotRecord:
    """What another tool made of the source: real links, pipes and devices; found by looking on disk."""
    place = replace(place_of(record), name="scheduled/2026-11-20T02:15:00")
    os.makedirs(os.path.dirname(place.path))
    subprocess.run(["cp", "-a", source, place.path], check=True)
    instance_id = record.archive.instance_id
    assert instance_id is not None
    task_id = snapshot_discovery.request_discovery(instance_id, actor=ALICE, now=NOW).id
    snapshot_discovery.execute_discovery(task_id, clock=lambda: NOW)
    found = find_at(place)
    assert found is not None
    return found


def links(page: str, word: str) -> set[str]:
    return {unescape(link) for link in re.findall(rf'href="([^"]*/{word}\?[^"]*)"', page)}


def path_in(link: str) -> bytes:
    """What the page's link names: the query is decoded once by the browser's peer, and holds percent-encoded bytes."""
    return unquote_to_bytes(parse_qs(urlsplit(link).query)["path"][0]).lstrip(b"/")


def test_every_name_is_reached_by_clicking_and_every_file_is_handed_out_whole(seen: Seen) -> None:
    waiting, visited = [f"/snapshots/{seen.archive_id}/files"], set()
    downloads: dict[bytes, str] = {}

    while waiting:
        address = waiting.pop()
        answer = seen.alice.get(address)
        assert answer.status_code == 200, address
        assert "<b onclick" not in answer.text
        assert "\x1b" not in answer.text
        assert "\u202e" not in answer.text
        new = {link for link in links(answer.text, "files") if path_in(link) not in visited}
        visited |= {path_in(link) for link in new}
        waiting += sorted(new)
        downloads |= {path_in(link): link for link in links(answer.text, "download") if "as=" not in link}

    assert set(downloads) == set(seen.files)
    for name, link in downloads.items():
        answer = seen.alice.get(link)
        assert answer.data == seen.bytes_of(name), name
        assert "\n" not in answer.headers["Content-Disposition"]


def test_a_tar_of_all_of_it_says_what_files_folders_and_links_really_were(seen: Seen) -> None:
    answer = seen.alice.get(f"/snapshots/{seen.archive_id}/download?path=/&as=tar")

    kinds = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink"}
    found: dict[bytes, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(answer.data), encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = os.fsencode(member.name)
            assert not name.startswith(b"/")
            assert b".." not in name.split(b"/")
            content: object = ""
            if member.issym():
                content = repr(os.fsencode(member.linkname))
            elif member.isfile() or member.islnk():
                file = archive.extractfile(member)
                content = file.read() if file is not None else None
            kind = kinds.get(member.type, "file")
            found[name] = (kind, member.mode & 0o7777, member.uid, member.gid, content)
    wanted = {
        name: (fact.kind, fact.mode, fact.uid, fact.gid, seen.bytes_of(name) if fact.kind == "file" else fact.content)
        for name, fact in seen.facts.items()
        if fact.kind in ("file", "directory", "symlink") and name != b"."
    }
    found.pop(b".", None)
    assert set(found) ^ set(wanted) == set()
    assert {name for name, value in wanted.items() if found[name] != value} == set()


def test_a_zip_of_all_of_it_holds_every_file_once_below_itself(seen: Seen) -> None:
    answer = seen.alice.get(f"/snapshots/{seen.archive_id}/download?path=/&as=zip")

    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        contents = [archive.read(name) for name in names if not name.endswith("/")]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("/") or ".." in name.split("/") or "\\" in name] == []
    assert sorted(map(len, contents))[-20:] == sorted(len(seen.bytes_of(name)) for name in seen.files)[-20:]


def test_each_name_is_found_by_searching_for_it(seen: Seen) -> None:
    for path, inside in walk(seen.tree / "odd"):
        text = os.fsdecode(os.path.basename(path))
        if inside == b"." or not text.isprintable() or not text.strip() or set(text) & set("*?[]"):
            continue
        answer = seen.alice.get(f"/snapshots/{seen.archive_id}/search", query_string={"q": text})
        assert answer.status_code == 200
        assert "Nothing here is called" not in answer.text, text
