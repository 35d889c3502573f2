"""Hosts as people are told to set them up: a key limited by rrsync. What rsync says through it means the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.host_snapshots import plan_of, taken, tree_of
from tests.support.host_trees import compare, make_tree, read_snapshot
from tests.support.limited_keys import limited_key
from tests.support.sshd import SshServer
from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode

RRSYNC = f"{shutil.which('rrsync')} -ro /"
# The host's user may be anybody; with this one the host has files that it may not read.
AS_NOBODY = f"setpriv --reuid=65534 --regid=65534 --clear-groups {RRSYNC}"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can let sshd's command become another user")


@pytest.fixture
def source(scratch: Path) -> Path:
    made = make_tree(scratch / "source", files=6, odd=False)
    for number in range(6):
        next(made.rglob(f"file{number}.conf")).chmod(0o644)
    closed = made / "etc0/closed"
    closed.mkdir()
    (closed / "key").write_bytes(b"secret")
    (closed / "key").chmod(0o600)
    return made


def test_what_the_host_s_user_may_not_read_is_named_as_it_is_on_the_host(
    ssh_server: SshServer, source: Path, scratch: Path
) -> None:
    with limited_key(ssh_server, scratch, AS_NOBODY) as ssh, pytest.raises(SourceError) as caught:
        taken(plan_of(ssh_server, scratch / "root", source, host={"ssh": ssh}))

    assert caught.value.code is ErrorCode.FILES_UNREADABLE
    assert f"{source}/etc0/closed/key (Permission denied)" in caught.value.message
    assert "/proc/" not in caught.value.message


def test_it_may_stay_unreadable_where_a_person_accepts_just_that(
    ssh_server: SshServer, source: Path, scratch: Path
) -> None:
    with limited_key(ssh_server, scratch, AS_NOBODY) as ssh:
        host = {"ssh": ssh, "accepted_errors": (f"{source}/etc0/closed/*",)}
        result = taken(plan_of(ssh_server, scratch / "root", source, host=host))

    assert result.manifest.unreadable_paths == (f"{source}/etc0/closed/key",)
    assert [code for code, _ in result.warnings] == [ErrorCode.FILES_UNREADABLE]
    assert b"etc0/closed/key" not in read_snapshot(tree_of(result.place, source))


def test_a_path_that_the_host_has_not_is_said_to_be_missing(ssh_server: SshServer, source: Path, scratch: Path) -> None:
    with (
        limited_key(ssh_server, scratch, RRSYNC) as ssh,
        pytest.raises(SourceError, match="Nothing came for") as caught,
    ):
        host = {"ssh": ssh, "paths": (f"{source}/etc0", f"{source}/gone")}
        taken(plan_of(ssh_server, scratch / "root", source, host=host))

    assert f"{source}/gone" in caught.value.message


def test_a_host_that_is_known_to_be_limited_is_called_once_alone(
    ssh_server: SshServer, source: Path, scratch: Path
) -> None:
    calls = scratch / "calls"
    with limited_key(ssh_server, scratch, f"echo call >> {calls}; {RRSYNC}") as ssh:
        plan = plan_of(ssh_server, scratch / "root", source, host={"ssh": ssh}, secluded=False)
        first = taken(plan)
        assert calls.read_text() == "call\n"
        unknown = plan_of(ssh_server, scratch / "other", source, host={"ssh": ssh})
        taken(unknown)
        assert calls.read_text() == "call\n" * 3
        taken(plan_of(ssh_server, scratch / "root", source, host={"ssh": ssh}, run_id=2, base=first.place))

    assert calls.read_text() == "call\n" * 4  # The base's manifest says it too.


def test_a_tree_of_everything_comes_whole(ssh_server: SshServer, scratch: Path) -> None:
    source = make_tree(scratch / "everything", files=6)

    with limited_key(ssh_server, scratch, RRSYNC) as ssh:
        place = taken(plan_of(ssh_server, scratch / "root", source, host={"ssh": ssh})).place

    assert compare(source, tree_of(place, source)) == []
