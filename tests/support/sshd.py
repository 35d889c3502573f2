"""A real OpenSSH server on a free port with keys made for the test; it and its directory are gone afterwards."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.postgres import free_port
from webapp.core.plans import Secret, SshPlan

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile {directory}/pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
MaxStartups 100
LogLevel VERBOSE
"""


@dataclass(frozen=True, slots=True)
class SshServer:
    """A running sshd that lets the current user in with ``private_key``."""

    port: int
    user: str
    directory: Path
    private_key: str = field(repr=False)
    host_key: str
    process: subprocess.Popen[bytes] = field(repr=False)

    def plan(self, **changes: Any) -> SshPlan:
        """How to reach it, host key pinned."""
        plan = SshPlan(
            "127.0.0.1",
            self.user,
            Secret(self.private_key),
            self.host_key,
            port=self.port,
        )
        return replace(plan, **changes)

    def log(self) -> str:
        """What sshd said."""
        return (self.directory / "log").read_text(errors="replace")


def make_key(path: Path, kind: str = "ed25519") -> tuple[str, str]:
    """A new key pair at ``path``; returns (private, "type base64")."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)
    words = path.with_suffix(".pub").read_text().split()
    return path.read_text(), f"{words[0]} {words[1]}"


@contextmanager
def running_sshd() -> Iterator[SshServer]:
    """Start one; every connection it still has is cut at the end."""
    assert SSHD is not None, "openssh-server is needed for this test"
    directory = Path(tempfile.mkdtemp(prefix="holdfast-sshd-"))
    try:
        port = free_port()
        _, host_key = make_key(directory / "host_key")
        private_key, public_key = make_key(directory / "client_key")
        (directory / "authorized_keys").write_text(public_key + "\n")
        (directory / "config").write_text(_CONFIG.format(port=port, directory=directory))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Privilege separation directory of Debian's sshd.
        with open(directory / "log", "wb") as log:
            argv = [SSHD, "-D", "-e", "-f", str(directory / "config")]
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = SshServer(port, getpass.getuser(), directory, private_key, host_key, process)
        try:
            _await_listening(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def only_reads(server: SshServer, root: Path) -> None:
    """From now on the key may do what ours should: rsync, reading, below ``root``, which it takes for "/"."""
    rrsync = shutil.which("rrsync")
    assert rrsync is not None, "rrsync (of the package rsync) is needed for this test"
    public = (server.directory / "client_key.pub").read_text()
    (server.directory / "authorized_keys").write_text(f'restrict,command="{rrsync} -ro {root}" {public}')


def _await_listening(server: SshServer) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=2).close()
        except OSError as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{error}\n{server.log()}") from error
            time.sleep(0.02)  # Between two attempts; the loop has its deadline.
        else:
            return
