"""Whatever a malicious host sends stays inside the tree, and nothing in the tree can do harm (F31)."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crafted_sender import crafted_sender
from tests.support.host_trees import list_wild, make_tree, read_snapshot
from tests.support.snapshots import list_partial
from tests.support.sshd import SshServer, running_sshd
from webapp.core.errors import HoldfastError
from webapp.core.snapshot_plans import HostPlan
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.places import make_partial, open_root
from webapp.engine.snapshots.transfer import pull

CANARY = b"canary"


def everything_but(directory: Path, data: str) -> dict[str, bytes]:
    """All that lies below ``directory``, without what lies below ``data``."""
    found = {}
    for where, names, files in os.walk(directory):
        if where.startswith(data):
            continue
        for name in (*names, *files):
            path = os.path.join(where, name)
            found[path] = Path(path).read_bytes() if os.path.isfile(path) and not os.path.islink(path) else b""
    return found


def dotted(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A directory called ".." with a file in it."""
    (source / "QQ").mkdir()
    (source / "QQ" / "planted").write_bytes(CANARY)
    return {b"QQ": b".."}


def dotted_twice(source: Path, outside: Path) -> dict[bytes, bytes]:
    """One file with a name that climbs."""
    (source / "QQ_QQ_planted").write_bytes(CANARY)
    return {b"QQ_QQ_planted": b"../../planted"}


def hidden_climb(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A name that goes down first."""
    (source / "zzzz_QQ_QQ_planted").write_bytes(CANARY)
    return {b"zzzz_QQ_QQ_planted": b"etc0/../../planted"}


def absolute(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A name with the whole path of a file elsewhere."""
    target = os.fsencode(outside / "planted")
    name = target.replace(b"/", b"Q")
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(CANARY)
    return {name: target}


def our_own(source: Path, outside: Path) -> dict[bytes, bytes]:
    """The list and the manifest beside the tree."""
    for name in ("QQ_files.list", "QQ_snapshot.json", "QQ_plan.json"):
        (source / name).write_bytes(CANARY)
    return {
        b"QQ_files.list": b"../files.list",
        b"QQ_snapshot.json": b"../snapshot.json",
        b"QQ_plan.json": b"../plan.json",
    }


def through_a_link(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A symlink that leads elsewhere, and then a directory of the same name with a file in it."""
    (source / "jump").symlink_to(outside)
    (source / "jumq").mkdir()
    (source / "jumq" / "planted").write_bytes(CANARY)
    return {b"jumq": b"jump"}


def over_a_link(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A symlink to a file elsewhere, and then a file of the same name."""
    (source / "hold").symlink_to(outside / "precious")
    (source / "holt").write_bytes(CANARY)
    return {b"holt": b"hold"}


def nul_and_newline(source: Path, outside: Path) -> dict[bytes, bytes]:
    """A name with a NUL in it, which the list could not hold."""
    (source / "cut_here").write_bytes(CANARY)
    return {b"cut_here": b"cut\0here"}


def empty_parts(source: Path, outside: Path) -> dict[bytes, bytes]:
    """Doubled slashes and dots."""
    (source / "etc0QQQQplanted").write_bytes(CANARY)
    return {b"etc0QQQQplanted": b"etc0//./planted"}


TRICKS: tuple[Callable[[Path, Path], dict[bytes, bytes]], ...] = (
    dotted,
    dotted_twice,
    hidden_climb,
    absolute,
    our_own,
    through_a_link,
    over_a_link,
    nul_and_newline,
    empty_parts,
)


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """An sshd of this module's own, because its key is changed."""
    with running_sshd() as server:
        yield server


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_f31_a_name_that_leads_elsewhere_writes_nothing_there(
    server: SshServer, tmp_path: Path, trick: Callable[[Path, Path], dict[bytes, bytes]]
) -> None:
    source, outside = make_tree(tmp_path / "source", files=5, odd=False), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    rules = trick(source, outside)
    partial = make_partial(open_root(str(tmp_path / "root"), create=True).path, "web-01", 1)
    (tmp_path / "scripts").mkdir()
    log = io.BytesIO()
    plan = HostPlan(server.plan(), ("/",), timeout_seconds=20)

    with crafted_sender(server, source, rules, tmp_path / "scripts") as told:
        told.touch()
        before = everything_but(tmp_path, f"{partial}/data")
        with contextlib.suppress(HoldfastError):
            pull(plan, f"{partial}/data", None, digests=log, reporter=SilentReporter())
        played = told.read_bytes()
        told.write_bytes(b"")

    assert played, "the trick was not played"
    assert everything_but(tmp_path, f"{partial}/data") == before
    assert list_wild(Path(partial, "data")) == []
    list_partial(partial)  # Whatever came can be listed.


def test_f31_devices_links_and_setuid_of_a_host_never_become_real_here(server: SshServer, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source", files=5)
    partial = make_partial(open_root(str(tmp_path / "root"), create=True).path, "web-01", 1)
    (tmp_path / "scripts").mkdir()
    plan = HostPlan(server.plan(), ("/",), timeout_seconds=20)

    with crafted_sender(server, source, {}, tmp_path / "scripts"):
        pull(plan, f"{partial}/data", None, digests=io.BytesIO(), reporter=SilentReporter())

    assert list_wild(Path(partial, "data")) == []
    facts = read_snapshot(Path(partial, "data"))
    assert {"symlink", "fifo", "socket", "character device", "block device"} <= {each.kind for each in facts.values()}
    assert facts[b"modes/file 4755"].mode == 0o4755
