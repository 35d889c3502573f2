"""F28: every way in which rsync can end is understood, and one that nobody knows is a failure."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest

from webapp.core.errors import HoldfastError, SourceError, StoreError
from webapp.core.plans import Secret, SshPlan
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.command import LocalRsync, Pull, find_rsync
from webapp.engine.snapshots.exits import Ended, judge
from webapp.engine.snapshots.output import Complaints, Output
from webapp.engine.snapshots.transfer import Watch, call_rsync
from webapp.engine.ssh import generate_key

_CODES = {
    10: ErrorCode.CONNECTION_LOST,
    11: ErrorCode.RSYNC_FAILED,
    12: ErrorCode.CONNECTION_LOST,
    23: ErrorCode.FILES_UNREADABLE,
    30: ErrorCode.STALLED,
    35: ErrorCode.CONNECTION_FAILED,
    255: ErrorCode.SSH_FAILED,
}
_PERMANENT = {1, 2, 4, 23}
_CONNECTED = "(Client) Protocol versions: remote=32, negotiated=32"


def plan(**changes: tuple[str, ...]) -> HostPlan:
    key, _ = generate_key()
    ssh = SshPlan("198.51.100.7", "backup", Secret(key.reveal()), "ssh-ed25519 " + "A" * 68)
    return HostPlan(ssh, ("/srv",), **changes)  # type: ignore[arg-type]


def ended_by(script: str, tmp_path: Path) -> Ended:
    """What is made of a program in rsync's place."""
    program = tmp_path / "rsync"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    reporter = SilentReporter()
    call = Pull(plan(), str(tmp_path / "data"))
    return call_rsync(
        call, LocalRsync(str(program), "3.5.0"), digests=io.BytesIO(), watch=Watch(str(tmp_path), 0, reporter)
    )


def failure_of(ended: Ended, host: HostPlan | None = None) -> HoldfastError:
    with pytest.raises(HoldfastError) as caught:
        judge(ended, host or plan())
    return caught.value


def test_every_exit_code(tmp_path: Path) -> None:
    for number in range(256):
        ended = ended_by(f"echo '{_CONNECTED}'; exit {number}", tmp_path)

        assert ended.returncode == number
        if number in (0, 24):
            assert judge(ended, plan()).vanished == (1 if number else 0)
            continue
        error = failure_of(ended)
        assert error.code is _CODES.get(number, ErrorCode.RSYNC_FAILED), number
        assert error.permanent is (number in _PERMANENT), number
        assert number == 23 or str(number) in error.message, error.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_is_a_failure(number: signal.Signals, tmp_path: Path) -> None:
    error = failure_of(ended_by(f"kill -{number.value} $$", tmp_path))

    assert error.code is ErrorCode.RSYNC_FAILED
    assert number.name in error.message
    assert not error.permanent


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("ssh: connect to host 198.51.100.7 port 22: Connection refused", ErrorCode.SSH_FAILED, "Connection refused"),
        ("ssh: Could not resolve hostname x: Name or service not known", ErrorCode.DNS_FAILED, "has no address"),
        ("backup@198.51.100.7: Permission denied (publickey).", ErrorCode.SSH_FAILED, "refuses our key"),
        ("Host key verification failed.", ErrorCode.HOST_KEY_MISMATCH, "is not the host"),
        ("bash: line 1: rsync: command not found", ErrorCode.RSYNC_FAILED, "has no rsync"),
        ("This account is not available.", ErrorCode.SSH_FAILED, "This account is not available"),
    ],
)
def test_what_stands_between_us_and_the_hosts_rsync_is_told(
    said: str, code: ErrorCode, words: str, tmp_path: Path
) -> None:
    error = failure_of(ended_by(f"echo '{said}' >&2; exit 255", tmp_path))

    assert error.code is code
    assert words in error.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('rsync: [receiver] write failed on "/b/x": No space left on device (28)', ErrorCode.DISK_FULL),
        ('rsync: [receiver] mkstemp "/b/.x" failed: Read-only file system (30)', ErrorCode.STORE_UNAVAILABLE),
        ('rsync: [generator] recv_generator: mkdir "/b" failed: Input/output error (5)', ErrorCode.STORE_ERROR),
        ('rsync: [receiver] mkstemp "/b/.x" failed: Something new (99)', ErrorCode.STORE_ERROR),
    ],
)
def test_refusals_of_our_own_disk_are_not_the_hosts(said: str, code: ErrorCode, tmp_path: Path) -> None:
    error = failure_of(
        ended_by(f"echo '{_CONNECTED}'; echo '{said}' >&2; exit 23", tmp_path), plan(accepted_errors=("*",))
    )

    assert isinstance(error, StoreError)
    assert error.code is code


def test_an_error_that_names_no_path_is_never_accepted(tmp_path: Path) -> None:
    said = "echo 'rsync: something odd happened' >&2; echo 'rsync: [sender] opendir \"/a\" failed: Denied (13)' >&2"

    error = failure_of(ended_by(f"{said}; exit 23", tmp_path), plan(accepted_errors=("*",)))

    assert error.code is ErrorCode.FILES_UNREADABLE
    assert "something odd happened" in error.message


def test_the_far_side_cannot_fill_our_memory_or_our_messages() -> None:
    complaints = Complaints()
    for number in range(60_000):
        complaints.take(b'rsync: [sender] send_files failed to open "/%d\\#033[31m": Permission denied (13)' % number)
    output = Output()
    list(output.feed(b"x" * 10_000_000))

    error = failure_of(Ended(23, output, complaints, ""), plan(accepted_errors=("*",)))

    assert len(complaints.unreadable) == 50_000
    assert "\x1b" not in error.message
    assert len(error.message) < 2000


def test_lines_of_older_rsyncs_are_understood_too() -> None:
    complaints = Complaints()
    for line in (
        b'rsync: send_files failed to open "/a b": Permission denied (13)',
        b'rsync: opendir "/c\\#012d" failed: Permission denied (13)',
        b'rsync: readlink_stat("/e") failed: Input/output error (5)',
        b'rsync: read errors mapping "/f": Input/output error (5)',
        b"ERROR: srv/g failed verification -- update discarded.",
        b"ERROR: srv/G failed verification -- update retained.",
        b"WARNING: srv/h failed verification -- update discarded (will try again).",
        b'file has vanished: "/i"',
        b'directory has vanished: "/j"',
        b"IO error encountered -- skipping file deletion",
        b"rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1]",
    ):
        complaints.take(line)

    assert list(complaints.unreadable) == [b"/a b", b"/c\nd", b"/e", b"/f", b"/srv/g", b"/srv/G"]
    assert complaints.vanished == 2
    assert complaints.unnamed == complaints.local == []


def test_a_file_that_is_cut_short_while_it_is_read_is_read_again_and_no_fault() -> None:
    once, twice = Complaints(), Complaints()
    cut = b'rsync: [sender] read errors mapping "/var/log/syslog": No data available (61)'
    again = b"WARNING: var/log/syslog failed verification -- update discarded (will try again)."
    for line in (cut, again):
        once.take(line)
    for line in (cut, again, cut, b"ERROR: var/log/syslog failed verification -- update discarded."):
        twice.take(line)

    error = failure_of(Ended(23, Output(), twice, ""))

    assert judge(Ended(23, Output(), once, ""), plan()).warnings == ()
    assert "/var/log/syslog (it kept changing while it was read)" in error.message
    assert not error.permanent


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("rsync  version 3.2.3  protocol version 31", ErrorCode.CLIENT_TOO_OLD),
        ("something else", ErrorCode.CLIENT_TOO_OLD),
    ],
)
def test_an_rsync_of_ours_that_hands_names_to_a_shell_is_refused(
    said: str, code: ErrorCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rsync").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "rsync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")

    with pytest.raises(SourceError) as caught:
        find_rsync()

    assert caught.value.code is code
