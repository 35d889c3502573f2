"""Pulling from a real sshd: what comes, what is warned of, what fails (F26, F27, F29, F35)."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tests.support.host_trees import compare, make_tree, read_snapshot
from tests.support.sshd import SshServer, make_key, running_sshd
from webapp.core.errors import SourceError, StoreError
from webapp.core.plans import Secret
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.transfer import Transfer, Ways, pull


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def host_of(server: SshServer, *paths: Path | str, **changes: Any) -> HostPlan:
    return HostPlan(server.plan(), tuple(map(str, paths)), timeout_seconds=20, **changes)


def brought(plan: HostPlan, data: Path, base: Path | None = None, **ways: Any) -> tuple[Transfer, dict[bytes, bytes]]:
    """The transfer, and the digests by path."""
    data.mkdir(exist_ok=True)
    log = io.BytesIO()
    tree = None if base is None else str(base)
    transfer = pull(plan, str(data), tree, digests=log, reporter=SilentReporter(), ways=Ways(**ways))
    records = [record for record in log.getvalue().split(b"\0") if record]
    return transfer, {record.partition(b"/")[2]: record.partition(b"/")[0] for record in records}


@contextmanager
def forced_command(server: SshServer, command: str) -> Iterator[None]:
    """Whoever logs in gets this command, whatever he asks for."""
    file = server.directory / "authorized_keys"
    before = file.read_text()
    file.write_text(f'restrict,command="{command}" {before}')
    try:
        yield
    finally:
        file.write_text(before)


def test_the_whole_host_comes_through_a_key_that_may_only_read(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    make_tree(source, files=12)

    with forced_command(ssh_server, f"rrsync -ro {source}"):
        transfer, _ = brought(host_of(ssh_server, "/"), tmp_path / "data")

    assert compare(source, tmp_path / "data") == []
    assert "--secluded-args" not in transfer.options


def test_rsyncs_digests_are_those_that_the_xxhash_package_computes(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    odd = b"odd \n\\#123 \xff\xc3\xa9"
    for name, content in ((b"a", b"content"), (b"empty", b""), (odd, os.urandom(300_000))):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(content)

    transfer, digests = brought(host_of(ssh_server, source), tmp_path / "data")
    _, md5 = brought(host_of(ssh_server, source), tmp_path / "other", digest="md5")

    assert transfer.digest == "xxh128"
    for name in (b"a", b"empty", odd):
        path = os.fsencode(source).lstrip(b"/") + b"/" + name
        content = Path(os.fsdecode(b"/" + path)).read_bytes()
        assert digests[path] == b"%b %d" % (xxhash.xxh128(content).hexdigest().encode(), len(content))
        assert md5[path].split()[0] == hashlib.md5(content).hexdigest().encode()


def test_unchanged_files_are_shared_and_changed_modes_are_not(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    for name in ("same", "mode", "content"):
        (source / name).write_text(name)
    plan = host_of(ssh_server, source)
    brought(plan, tmp_path / "one")
    (source / "mode").chmod(0o4755)
    (source / "content").write_text("other")

    brought(plan, tmp_path / "two", base=tmp_path / "one")

    inodes = [
        [os.stat(f"{tmp_path}/{data}{source}/{name}").st_ino for name in ("same", "mode", "content")]
        for data in ("one", "two")
    ]
    assert [one == two for one, two in zip(*inodes, strict=True)] == [True, False, False]
    assert read_snapshot(Path(f"{tmp_path}/one{source}"))[b"mode"].mode != 0o4755
    assert compare(source, Path(f"{tmp_path}/two{source}")) == []
    assert os.stat(f"{tmp_path}/two{source}/mode").st_mode & 0o7000 == 0


def test_includes_come_before_excludes_and_patterns_are_only_patterns(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    for name in ("keep.log", "drop.log", "! x", "+ y", "z"):
        (source / name).write_text(name)
    plan = host_of(ssh_server, source, includes=("keep.log",), excludes=("*.log", "! x", "+ y"))

    brought(plan, tmp_path / "data")

    assert sorted(os.listdir(f"{tmp_path}/data{source}")) == ["keep.log", "z"]


def test_f26_vanished_files_are_a_warning_with_their_number(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    for number in range(40):
        (source / f"{number:02}").write_bytes(os.urandom(100_000))
    # The host's rsync is told to be slow, so that the last files are gone when it comes to them.
    plan = host_of(ssh_server, source, bandwidth_kib=2000)
    reporter = Vanishing(source, tmp_path / "data")
    (tmp_path / "data").mkdir()

    transfer = pull(plan, str(tmp_path / "data"), None, digests=io.BytesIO(), reporter=reporter)

    assert transfer.vanished == 5
    assert [code for code, _ in transfer.warnings] == [ErrorCode.FILES_VANISHED]
    assert "5 files were deleted" in transfer.warnings[0][1]
    assert len(os.listdir(f"{tmp_path}/data{source}")) == 35


class Vanishing(SilentReporter):
    """Deletes the last five files as soon as the first one has come."""

    def __init__(self, source: Path, data: Path) -> None:
        super().__init__()
        self._source, self._data = source, Path(f"{data}{source}")

    def check(self) -> None:
        """Asked between two pieces of rsync's output."""
        if self._source.exists() and self._data.is_dir() and any(self._data.iterdir()):
            for number in range(35, 40):
                (self._source / f"{number:02}").unlink(missing_ok=True)


def as_nobody(server: SshServer, tmp_path: Path) -> Any:
    """The host's rsync runs as a user who may not read everything; root would."""
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    words = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    return forced_command(server, f'exec {words} sh -c \\"$SSH_ORIGINAL_COMMAND\\"')


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_f27_what_cannot_be_read_fails_unless_it_is_accepted(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    (source / "fine").write_text("fine")
    (source / "secret").write_text("secret")
    (source / "secret").chmod(0)
    (source / "locked").mkdir(mode=0o700)
    with as_nobody(ssh_server, tmp_path):
        with pytest.raises(SourceError) as caught:
            brought(host_of(ssh_server, source), tmp_path / "data")
        with pytest.raises(SourceError) as half:
            brought(host_of(ssh_server, source, accepted_errors=(f"{source}/secret",)), tmp_path / "data")
        Path(f"{tmp_path}/data{source}/secret").write_text("left by an attempt before")
        plan = host_of(ssh_server, source, accepted_errors=(f"{source}/sec*", f"{source}/locked"))
        transfer, _ = brought(plan, tmp_path / "data")

    assert caught.value.code is ErrorCode.FILES_UNREADABLE
    assert caught.value.permanent
    assert "2 paths could not be read" in caught.value.message
    assert f"{source}/locked (Permission denied)" in half.value.message
    assert transfer.unreadable == 2
    assert set(transfer.unreadable_paths) == {f"{source}/secret", f"{source}/locked"}
    assert [code for code, _ in transfer.warnings] == [ErrorCode.FILES_UNREADABLE]
    assert sorted(os.listdir(f"{tmp_path}/data{source}")) == ["fine", "locked"]


@pytest.mark.parametrize("accepted", [(), ("*",)], ids=["plainly", "though all is accepted"])
def test_f27_a_missing_path_always_fails(
    ssh_server: SshServer, source: Path, tmp_path: Path, accepted: tuple[str, ...]
) -> None:
    plan = host_of(ssh_server, source, source / "missing", accepted_errors=accepted)

    with pytest.raises(SourceError) as caught:
        brought(plan, tmp_path / "data")

    assert caught.value.code is ErrorCode.FILES_UNREADABLE
    assert f"Nothing came for {source}/missing" in caught.value.message


def test_a_path_that_is_excluded_or_only_a_link_fails(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    (source / "real").mkdir()
    (source / "link").symlink_to("real")

    with pytest.raises(SourceError, match="an exclude hides it"):
        brought(host_of(ssh_server, source / "real", excludes=("real",)), tmp_path / "one")
    with pytest.raises(SourceError, match="is a symbolic link on the host"):
        brought(host_of(ssh_server, source / "link"), tmp_path / "two")


def test_f29_a_host_with_another_key_gets_nothing_of_ours(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    with running_sshd() as other:
        plan = host_of(ssh_server, source)
        moved = replace(plan, ssh=replace(plan.ssh, port=other.port))
        with pytest.raises(SourceError) as caught:
            brought(moved, tmp_path / "data")
        log = other.log()

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH
    assert caught.value.permanent
    assert "Accepted" not in log
    assert os.listdir(tmp_path / "data") == []


def test_f29_a_host_without_a_pinned_key_is_not_even_called(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    plan = host_of(ssh_server, source)

    with pytest.raises(SourceError) as caught:
        brought(replace(plan, ssh=replace(plan.ssh, host_key="")), tmp_path / "data")

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH


def test_f35_the_users_own_configuration_and_agent_are_not_asked(
    ssh_server: SshServer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/config").write_text(f"Host *\n ProxyCommand touch {canary}\n Port 1\n")
    (tmp_path / "home/.popt").write_text(f"rsync exec --archive touch {canary}\n")
    for name in ("RSYNC_RSH", "RSYNC_PROXY", "RSYNC_CONNECT_PROG", "RSYNC_PARTIAL_DIR", "SSH_ASKPASS"):
        monkeypatch.setenv(name, f"touch {canary}")
    monkeypatch.setenv("RSYNC_OLD_ARGS", "1")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (source / "file").write_text("x")

    brought(host_of(ssh_server, source), tmp_path / "data")

    assert not canary.exists()
    assert compare(source, Path(f"{tmp_path}/data{source}")) == []


def test_f35_a_key_with_a_passphrase_and_a_key_that_is_not_known_say_so(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    private, _ = make_key(tmp_path / "stranger")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", tmp_path / "locked"], check=True)
    plan = host_of(ssh_server, source)

    with pytest.raises(SourceError) as caught:
        brought(replace(plan, ssh=replace(plan.ssh, private_key=Secret(private))), tmp_path / "data")
    with pytest.raises(SourceError) as damaged:
        brought(replace(plan, ssh=replace(plan.ssh, private_key=Secret("no key"))), tmp_path / "data")
    with pytest.raises(SourceError) as locked:
        key = Secret((tmp_path / "locked").read_text())
        brought(replace(plan, ssh=replace(plan.ssh, private_key=key)), tmp_path / "data")

    assert "refuses our key" in caught.value.message
    assert damaged.value.message == locked.value.message == "The stored SSH key is not usable."
    assert caught.value.code is damaged.value.code is locked.value.code is ErrorCode.SSH_FAILED


def test_a_host_without_rsync_and_a_key_for_another_command_say_so(
    ssh_server: SshServer, source: Path, tmp_path: Path
) -> None:
    with forced_command(ssh_server, "echo not for you >&2; false"), pytest.raises(SourceError) as caught:
        brought(host_of(ssh_server, source), tmp_path / "data")
    with forced_command(ssh_server, "PATH=/nonexistent; rsync --server"), pytest.raises(SourceError) as missing:
        brought(host_of(ssh_server, source), tmp_path / "data")

    assert caught.value.code is ErrorCode.RSYNC_FAILED
    assert "limited to another command" in caught.value.hint
    assert missing.value.message == "127.0.0.1 has no rsync."


def test_f34_a_full_disk_of_ours_is_told_as_that(ssh_server: SshServer, source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        brought(host_of(ssh_server, source), tmp_path / "data", reserve_bytes=10**18)

    assert caught.value.code is ErrorCode.DISK_FULL
