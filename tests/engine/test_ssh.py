"""SSH against a real sshd: the pinned host only, our key only, nothing of the user's configuration."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import SshServer, make_key, running_sshd
from webapp.core.errors import SourceError
from webapp.core.plans import Secret
from webapp.core.status import ErrorCode
from webapp.engine.process import ProcessFailed
from webapp.engine.report import SilentReporter
from webapp.engine.ssh import fingerprint, generate_key, run_remote, scan_host_key, stream_remote, tunnel

REPORTER = SilentReporter()


@pytest.fixture(scope="module")
def sshd() -> Iterator[SshServer]:
    with running_sshd() as server:
        yield server


def test_words_reach_the_host_as_they_are(sshd: SshServer) -> None:
    words = ["printf", "%s|", "a b", "$(touch /tmp/canary)", "';rm -rf x", "-n", "*", "ünï\n2"]

    finished = run_remote(sshd.plan(), words, reporter=REPORTER)

    assert finished.stdout.decode() == "a b|$(touch /tmp/canary)|';rm -rf x|-n|*|ünï\n2|"
    assert finished.returncode == 0


def test_the_exit_code_of_the_command_is_an_answer(sshd: SshServer) -> None:
    assert run_remote(sshd.plan(), ["sh", "-c", "echo no >&2; exit 3"], reporter=REPORTER).returncode == 3


def test_a_stream_feeds_and_reads_and_keeps_the_exit_code(sshd: SshServer) -> None:
    with stream_remote(sshd.plan(), ["cat"], reporter=REPORTER, stdin=(b"x" * 1000 for _ in range(2000))) as chunks:
        assert sum(map(len, chunks)) == 2_000_000
    with (
        pytest.raises(ProcessFailed) as caught,
        stream_remote(sshd.plan(), ["sh", "-c", "echo half; exit 2"], reporter=REPORTER) as chunks,
    ):
        list(chunks)
    assert caught.value.returncode == 2


def test_another_host_key_is_refused_and_both_prints_are_shown(sshd: SshServer, tmp_path: Path) -> None:
    _, other = make_key(tmp_path / "other")

    with pytest.raises(SourceError) as caught:
        run_remote(sshd.plan(host_key=other), ["true"], reporter=REPORTER)

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH
    assert fingerprint(other) in caught.value.message
    assert fingerprint(sshd.host_key) in caught.value.message
    assert caught.value.permanent


def test_a_host_key_of_another_kind_is_refused(sshd: SshServer, tmp_path: Path) -> None:
    _, other = make_key(tmp_path / "other", "ecdsa")

    with pytest.raises(SourceError) as caught:
        run_remote(sshd.plan(host_key=other), ["true"], reporter=REPORTER)

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH


@pytest.mark.parametrize("host_key", ["", "nonsense", "ssh-ed25519 AAAA\n* ssh-rsa AAAA"])
def test_without_a_confirmed_host_key_nothing_is_tried(sshd: SshServer, host_key: str) -> None:
    with pytest.raises(SourceError, match="not confirmed") as caught:
        run_remote(sshd.plan(host_key=host_key), ["true"], reporter=REPORTER)

    assert caught.value.code is ErrorCode.HOST_KEY_MISMATCH


def test_another_key_of_ours_is_refused_with_a_hint(sshd: SshServer) -> None:
    private, _ = generate_key()

    with pytest.raises(SourceError, match="refuses our key") as caught:
        run_remote(sshd.plan(private_key=private), ["true"], reporter=REPORTER)

    assert "authorized_keys" in caught.value.hint


def test_a_damaged_key_is_said_so(sshd: SshServer) -> None:
    with pytest.raises(SourceError) as caught:
        run_remote(sshd.plan(private_key=Secret("not a key")), ["true"], reporter=REPORTER)

    assert caught.value.code is ErrorCode.SSH_FAILED


def test_nobody_listening_can_be_retried(sshd: SshServer) -> None:
    with pytest.raises(SourceError) as caught:
        run_remote(sshd.plan(port=1), ["true"], reporter=REPORTER)

    assert caught.value.code is ErrorCode.SSH_FAILED
    assert not caught.value.permanent


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=touch /tmp/canary",
        "",
        "a b",
        "a\nb",
        "$(id)",
        "`id`",
        "a;b",
        "host/..",
        "a,b",
        "::module x",
        "@x",
    ],
)
def test_a_host_that_could_be_something_else_is_refused(sshd: SshServer, host: str) -> None:
    with pytest.raises(SourceError, match="not a usable host name"):
        run_remote(sshd.plan(host=host), ["true"], reporter=REPORTER)
    with pytest.raises(SourceError, match="not a usable host name"):
        scan_host_key(host)


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "", "a b", "a\nb", "$(id)", "a;b"])
def test_a_user_that_could_be_something_else_is_refused(sshd: SshServer, user: str) -> None:
    with pytest.raises(SourceError, match="not a usable user name"):
        run_remote(sshd.plan(user=user), ["true"], reporter=REPORTER)


def test_the_users_agent_and_configuration_are_ignored(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    monkeypatch.setenv("SSH_ASKPASS", "/nonexistent/askpass")

    finished = run_remote(sshd.plan(), ["sh", "-c", "echo ${SSH_AUTH_SOCK:-none}"], reporter=REPORTER)

    assert finished.stdout == b"none\n"


def test_a_scan_gives_the_key_that_the_host_shows(sshd: SshServer) -> None:
    assert scan_host_key("127.0.0.1", sshd.port) == sshd.host_key
    with pytest.raises(SourceError, match="shows no SSH host key"):
        scan_host_key("127.0.0.1", 1)


def test_a_generated_key_lets_us_in(sshd: SshServer) -> None:
    private, public = generate_key("holdfast-acme")
    with open(sshd.directory / "authorized_keys", "a") as file:
        file.write(f"restrict {public}\n")

    assert run_remote(sshd.plan(private_key=private), ["echo", "in"], reporter=REPORTER).stdout == b"in\n"
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" holdfast-acme")


def test_a_tunnel_leads_to_a_port_beyond_the_host_and_is_gone_afterwards(sshd: SshServer) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=_greet, args=(listener,), daemon=True).start()

        with (
            tunnel(sshd.plan(), "127.0.0.1", listener.getsockname()[1], reporter=REPORTER) as port,
            socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        ):
            answer = connection.recv(100)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)

    assert answer == b"hello"


def test_no_file_of_ours_is_left(sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))

    run_remote(sshd.plan(), ["true"], reporter=REPORTER)

    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def _greet(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"hello")
