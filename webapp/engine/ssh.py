"""The only SSH client: the system's ``ssh``, with one pinned host key, one key of ours, and nothing of the user's."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webapp.core.errors import SourceError
from webapp.core.plans import Secret, SshPlan
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls
from webapp.engine.process import (
    Background,
    Finished,
    ProcessFailed,
    background,
    clean_environment,
    find_executable,
    run,
    stream,
)
from webapp.engine.report import Reporter
from webapp.engine.secret_files import secret_file
from webapp.engine.ssh_ciphers import cipher_options

CONNECT_SECONDS = 15
_SSH_FAILED = 255
_ALIAS = "pinned-host"
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,63}")
_KEY_LINE = re.compile(r"[a-z0-9@.-]{3,64} [A-Za-z0-9+/]{16,4096}={0,2}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{20,64}")
# The kinds of host keys we ask for, the preferred first.
_SCANNED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
# Words of ssh by which its failures are told from those of the program that it was to start.
_SSH_SAYS = (
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "Permission denied (",
    "Too many authentication failures",
    "Could not resolve hostname",
    "error in libcrypto",
    "incorrect passphrase",
    "client_loop: send disconnect",
)
_SSH_BEGINS = ("ssh: ", "Load key", "kex_exchange", "Connection ")

_OPTIONS = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "GlobalKnownHostsFile=/dev/null",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "CheckHostIP=no",
    f"HostKeyAlias={_ALIAS}",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "ControlMaster=no",
    "ControlPath=none",
    "ProxyCommand=none",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RequestTTY=no",
    "EscapeChar=none",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "TCPKeepAlive=yes",
    "ConnectionAttempts=1",
    f"ConnectTimeout={CONNECT_SECONDS}",
    "Compression=no",
    "LogLevel=ERROR",
)


def run_remote(
    plan: SshPlan,
    words: Sequence[str],
    *,
    reporter: Reporter,
    timeout_seconds: float = 60,
    input: bytes | None = None,
    max_output: int = 1024 * 1024,
) -> Finished:
    """Run a short command on the host, each word quoted; any exit code of the command is an answer.

    Raises SourceError when the host cannot be reached, is not the pinned one, or does not let us in.
    """
    with _arguments(plan) as argv:
        try:
            finished = run(
                [*argv, "--", plan.host, _command(words)],
                env=clean_environment(),
                timeout_seconds=timeout_seconds,
                input=input,
                reporter=reporter,
                max_output=max_output,
            )
        except ProcessFailed as error:
            raise _explained(plan, error.stderr_tail, error) from error
    if finished.returncode == _SSH_FAILED or finished.returncode < 0:
        raise _explained(plan, finished.stderr_tail)
    return finished


@contextmanager
def stream_remote(
    plan: SshPlan,
    words: Sequence[str],
    *,
    reporter: Reporter,
    stdin: Iterable[bytes] | None = None,
    idle_seconds: float = 600,
) -> Iterator[Iterator[bytes]]:
    """Yield what the command writes, as ``process.stream`` does.

    The iterator raises SourceError when SSH itself fails, and ProcessFailed when the command ends with another exit code
    than 0, so that a caller can judge that.
    """
    with (
        _arguments(plan) as argv,
        stream(
            [*argv, "--", plan.host, _command(words)],
            env=clean_environment(),
            reporter=reporter,
            stdin=stdin,
            idle_seconds=idle_seconds,
        ) as chunks,
    ):
        yield _translated(plan, chunks)


@contextmanager
def tunnel(plan: SshPlan, host: str, port: int, *, reporter: Reporter) -> Iterator[int]:
    """A port on 127.0.0.1 that leads to ``host``:``port`` as seen from the SSH host, while inside.

    Raises SourceError when SSH fails; that nothing listens at the far end shows only when one connects.
    """
    _require(_HOST, host, "host name")
    with _arguments(plan) as argv:
        local = _free_port()
        target = f"127.0.0.1:{local}:[{host}]:{port}"
        forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", target, "--", plan.host]
        with background([*argv, *forward], env=clean_environment(), reporter=reporter) as program:
            _await_tunnel(plan, program, local, reporter)
            yield local


@contextmanager
def rsync_shell(plan: SshPlan) -> Iterator[tuple[list[str], str]]:
    """What rsync needs to reach the host through our own SSH: the words of its ``--rsh``, and the host as it stands before ``:``.

    The words name files that live while inside. The host's part can be no option, no user and no rsync module, whatever the
    plan says. Raises SourceError as ``run_remote`` does for a plan that is not usable.
    """
    with _arguments(plan) as argv:
        yield [*argv, "--"], f"[{plan.host}]" if ":" in plan.host else plan.host


def explain(plan: SshPlan, stderr: str) -> SourceError | None:
    """What a failure of SSH means to the operator, where rsync's stderr has one; None when SSH said nothing."""
    lines = [line for line in strip_controls(stderr).splitlines() if line.strip() and not line.startswith("rsync")]
    said = any(words in line for line in lines for words in _SSH_SAYS)
    return _explained(plan, "\n".join(lines)) if said or any(line.startswith(_SSH_BEGINS) for line in lines) else None


def scan_host_key(host: str, port: int = 22) -> str:
    """The host key that a host shows now, "type base64", the most modern of those it has. It is not trusted by this.

    Raises SourceError when it shows none.
    """
    _require(_HOST, host, "host name")
    program = find_executable("ssh-keyscan", ["/usr/bin"]) or "ssh-keyscan"
    argv = [program, "-T", "10", "-p", str(port), "-t", "ed25519,ecdsa,rsa", "--", host]
    finished = run(argv, env=clean_environment(), timeout_seconds=40)
    lines = [line.split() for line in finished.stdout.decode("ascii", "replace").splitlines()]
    found = {words[1]: words[2] for words in lines if len(words) == 3 and words[1] in _SCANNED}
    for kind in _SCANNED:
        if kind in found and _KEY_LINE.fullmatch(line := f"{kind} {found[kind]}"):
            return line
    raise SourceError(
        f"{host} shows no SSH host key on port {port}.",
        hint="Check host name and port, and that a firewall lets this machine reach it.",
        code=ErrorCode.SSH_FAILED,
    )


def fingerprint(host_key: str) -> str:
    """The "SHA256:…" of a "type base64" pair, as ``ssh-keygen -l`` prints it; "" when it is damaged."""
    try:
        blob = base64.b64decode(host_key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def generate_key(comment: str = "holdfast") -> tuple[Secret, str]:
    """A new Ed25519 pair: the private key in OpenSSH's format, and the public line for authorized_keys."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Secret(private.decode()), f"{public.decode()} {comment}".strip()


@contextmanager
def _arguments(plan: SshPlan) -> Iterator[list[str]]:
    """The command line up to the host, with the key and the pinned host key in files that live while inside."""
    _require(_HOST, plan.host, "host name")
    _require(_USER, plan.user, "user name")
    if not _KEY_LINE.fullmatch(plan.host_key):
        raise SourceError(
            f"The host key of {plan.host} was not confirmed yet.",
            hint="Open the instance, fetch the host key, compare its fingerprint and confirm it.",
            code=ErrorCode.HOST_KEY_MISMATCH,
            permanent=True,
        )
    program = find_executable("ssh", ["/usr/bin"])
    if program is None:
        raise SourceError(
            "No ssh program was found.", hint="Install openssh-client on the worker.", code=ErrorCode.CLIENT_MISSING
        )
    private = plan.private_key.reveal().replace("\r\n", "\n").strip() + "\n"
    with secret_file(private) as key, secret_file(f"{_ALIAS} {plan.host_key}\n") as known_hosts:
        argv = [program, "-F", "/dev/null", "-T", "-a", "-x", "-i", key, "-p", str(plan.port), "-l", plan.user]
        for option in (f"UserKnownHostsFile={known_hosts}", *_OPTIONS, *cipher_options(program)):
            argv += ["-o", option]
        yield argv


def _require(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.fullmatch(value):
        shown = strip_controls(value)[:80]
        raise SourceError(
            f"{shown!r} is not a usable {what} for SSH.", code=ErrorCode.INVALID_CONFIGURATION, permanent=True
        )


def _command(words: Sequence[str]) -> str:
    """One string, because ssh hands it to the login shell of the host; quoted for any POSIX shell."""
    return shlex.join(words)


def _translated(plan: SshPlan, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ProcessFailed as error:
        if error.returncode is None or error.returncode < 0 or error.returncode == _SSH_FAILED:
            raise _explained(plan, error.stderr_tail, error) from error
        raise


def _explained(plan: SshPlan, stderr: str, failed: ProcessFailed | None = None) -> SourceError:
    """What SSH's last words mean to the operator."""
    text = strip_controls(stderr)
    place = f"{plan.user}@{plan.host}:{plan.port}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text or "Host key verification failed" in text:
        return _mismatch(plan, text)
    refused = "Permission denied" in text or "Too many authentication failures" in text
    # Before the refusal, which SSH adds when it has no other key.
    if "error in libcrypto" in text or "invalid format" in text or (refused and _is_locked(plan.private_key)):
        hint = "Use a private key without a passphrase, or let Holdfast make one."
        return SourceError("The stored SSH key is not usable.", hint=hint, code=ErrorCode.SSH_FAILED, permanent=True)
    if refused:
        hint = "Add Holdfast's public key to ~/.ssh/authorized_keys of that user, and check the user name."
        return SourceError(f"{place} refuses our key.", hint=hint, code=ErrorCode.SSH_FAILED, permanent=True)
    if "Could not resolve hostname" in text:
        hint = "Check the host name; the worker must be able to resolve it."
        return SourceError(f"{plan.host} has no address.", hint=hint, code=ErrorCode.DNS_FAILED)
    cause = text.splitlines()[-1][:300] if text else (failed.message if failed else "the connection was closed")
    hint = "Check that the host is up, and that a firewall lets this machine reach it."
    return SourceError(f"SSH to {place} failed: {cause}", hint=hint, code=ErrorCode.SSH_FAILED, permanent=False)


def _is_locked(key: Secret) -> bool:
    """Whether a passphrase protects the key. In batch mode SSH passes over such a key without a word."""
    try:
        serialization.load_ssh_private_key(key.reveal().encode(), password=None)
    except TypeError:  # What the library raises for a passphrase that it was not given.
        return True
    except (ValueError, UnsupportedAlgorithm):
        return "ENCRYPTED" in key.reveal()
    return False


def _mismatch(plan: SshPlan, text: str) -> SourceError:
    shown = _FINGERPRINT.search(text)
    seen = f"It shows {shown[0]}" if shown else "It shows a key of another kind"
    return SourceError(
        f"{plan.host} is not the host whose key was confirmed. {seen}; confirmed was {fingerprint(plan.host_key)}.",
        hint="If the host was installed anew, fetch its key again and compare; otherwise someone may be in between.",
        code=ErrorCode.HOST_KEY_MISMATCH,
        permanent=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_tunnel(plan: SshPlan, program: Background, port: int, reporter: Reporter) -> None:
    """Until the local end listens. SSH opens it only after the host key and our key were accepted."""
    deadline = time.monotonic() + CONNECT_SECONDS + 10
    while True:
        reporter.check()
        if program.returncode() is not None:
            raise _explained(plan, program.stderr_tail())
        if _listens(port):
            return
        if time.monotonic() > deadline:
            raise _explained(plan, program.stderr_tail() or "the tunnel did not open in time")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
