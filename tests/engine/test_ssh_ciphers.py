"""AES first where the processor has it, and nothing that this machine's ssh would not understand."""

from __future__ import annotations

import shutil

import pytest

from tests.support.sshd import SshServer
from webapp.engine.report import SilentReporter
from webapp.engine.ssh import run_remote
from webapp.engine.ssh_ciphers import FAST, cipher_options, preferred

INTEL = "processor\t: 0\nflags\t\t: fpu vme sse2 aes avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd aes pmull\n"
WITHOUT = "processor\t: 0\nflags\t\t: fpu vme sse2 vaes_like\nmodel name\t: aes\n"


@pytest.mark.parametrize(
    ("version", "processor", "expected"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025", INTEL, (f"Ciphers=^{FAST}",)),
        ("OpenSSH_8.1p1, OpenSSL 1.1.1", ARM, (f"Ciphers=^{FAST}",)),
        ("OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1", INTEL, (f"Ciphers=^{FAST}",)),
        ("OpenSSH_8.0p1, OpenSSL 1.1.1k  FIPS 25 Mar 2021", INTEL, ()),
        ("OpenSSH_9.2p1", WITHOUT, ()),
        ("OpenSSH_9.2p1", "", ()),
        ("Sun_SSH_2.4", INTEL, ()),
    ],
)
def test_aes_comes_first_where_ssh_and_processor_can(version: str, processor: str, expected: tuple[str, ...]) -> None:
    assert preferred(version, processor) == expected


def test_this_machines_ssh_takes_what_it_is_given(ssh_server: SshServer) -> None:
    assert run_remote(ssh_server.plan(), ["true"], reporter=SilentReporter()).returncode == 0
    assert cipher_options(shutil.which("ssh") or "ssh") in ((), (f"Ciphers=^{FAST}",))
