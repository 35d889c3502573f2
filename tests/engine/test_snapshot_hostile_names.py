"""F30: names that look like options, commands or other hosts run nothing, here or on the host, and leave no canary."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.test_snapshot_pull import forced_command
from tests.support.host_trees import compare
from tests.support.sshd import SshServer
from webapp.core.errors import HoldfastError, InvalidInput
from webapp.core.snapshot_plans import HostPlan
from webapp.engine.report import SilentReporter
from webapp.engine.snapshots.command import shell_option
from webapp.engine.snapshots.transfer import pull

# Each holds a command that would touch the canary, were it ever a word for a shell or an option for a program.
HOSTS = (
    "-oProxyCommand=touch {canary}",
    "--rsh=touch {canary}",
    "-e",
    "127.0.0.1 -oProxyCommand=touch {canary}",
    "127.0.0.1;touch {canary}",
    "$(touch {canary})",
    "`touch {canary}`",
    "127.0.0.1\n-oProxyCommand=touch {canary}",
    "127.0.0.1::module",
    "rsync://127.0.0.1/module",
    "::module",
    "user@127.0.0.1",
    "[127.0.0.1]",
    "127.0.0.1:/etc",
    "'127.0.0.1'",
    '"127.0.0.1"',
    "",
    "127.0.0.1\x00x",
)
USERS = (
    "-oProxyCommand=touch {canary}",
    "root -oProxyCommand=touch {canary}",
    "root;touch {canary}",
    "$(touch {canary})",
    "root\nProxyCommand=touch",
    "'root'",
    "",
)
# Directories of the source; each is also given as a path of the plan.
PATHS = (
    b"-rf",
    b"--rsh=touch {canary}",
    b"-etouch {canary}",
    b"--rsync-path=touch {canary};rsync",
    b"--files-from=x",
    b"$(touch {canary})",
    b"`touch {canary}`",
    b";touch {canary};",
    b"|touch {canary}",
    b"&touch {canary}&",
    b"a b  c",
    b" leading",
    b"trailing ",
    b"quote'",
    b'double"',
    b"'; touch {canary}; '",
    b'"; touch {canary}; "',
    b"back\\slash",
    b"\\",
    b"star*",
    b"*",
    b"que?tion",
    b"[a-z]",
    b"{a,b}",
    b"~",
    b"~root",
    b"$HOME",
    b"host:path",
    b"::module",
    b"rsync:",
    b"#comment",
    b";comment",
    b"! merge",
    b"- exclude",
    b"+ include",
    b". merge",
    b"%n%C",
    b"\\#012",
    b"\xff\xfe",
    "ünïcode".encode(),
    b"..;touch {canary}",
    b"...",
    b"<x",
    b">x",
    b"(x)",
    b"\x7f",
)
# Names that no plan may hold, and that a host may have all the same.
ONLY_THERE = (
    b"new\nline",
    b"\n",
    b"tab\t",
    b"carriage\rreturn",
    b"bell\x07",
    b"\x1b[31mred",
    b"\nHF >f+++++++++ " + b"0" * 32,
)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def name_of(name: bytes, canary: Path) -> bytes:
    """A name has no slash, so the canary's own directory stands for its path where a shell would start."""
    return name.replace(b"{canary}", canary.name.encode())


def brought(plan: HostPlan, data: Path) -> dict[bytes, bytes]:
    """Digests by path of a pull into a new directory."""
    data.mkdir()
    log = io.BytesIO()
    pull(plan, str(data), None, digests=log, reporter=SilentReporter())
    return {record.partition(b"/")[2]: record.partition(b"/")[0] for record in log.getvalue().split(b"\0") if record}


def test_there_are_enough_of_them() -> None:
    assert len(HOSTS) + len(USERS) + len(PATHS) + len(ONLY_THERE) >= 70


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str, ssh_server: SshServer, canary: Path, tmp_path: Path) -> None:
    plan = HostPlan(replace(ssh_server.plan(), host=host.format(canary=canary)), ("/etc/hostname",), timeout_seconds=5)

    with pytest.raises(HoldfastError):
        brought(plan, tmp_path / "data")

    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("user", USERS)
def test_users(user: str, ssh_server: SshServer, canary: Path, tmp_path: Path) -> None:
    plan = HostPlan(replace(ssh_server.plan(), user=user.format(canary=canary)), ("/etc/hostname",), timeout_seconds=5)

    with pytest.raises(HoldfastError):
        brought(plan, tmp_path / "data")

    assert os.listdir(tmp_path / "data") == []


@pytest.fixture
def hostile(tmp_path: Path, canary: Path) -> Path:
    """A source whose names are hostile, each a directory with a file of the same name, and a file beside it."""
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate(PATHS + ONLY_THERE):
        directory = os.path.join(os.fsencode(source), name_of(name, canary))
        os.mkdir(directory)
        Path(os.fsdecode(os.path.join(directory, name_of(name, canary)))).write_bytes(b"%d" % number)
    return source


@pytest.mark.parametrize("limited", [False, True], ids=["by shell", "by rrsync"])
def test_paths_come_as_they_are_and_run_nothing(
    limited: bool, hostile: Path, ssh_server: SshServer, canary: Path, tmp_path: Path
) -> None:
    paths = tuple(os.fsdecode(os.path.join(os.fsencode(hostile), name_of(name, canary))) for name in PATHS)
    usable = tuple(path for path in paths if "\x7f" not in path)
    plan = HostPlan(ssh_server.plan(), usable, timeout_seconds=20)

    with forced_command(ssh_server, "rrsync -ro /" if limited else 'exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"'):
        digests = brought(plan, tmp_path / "data")

    tree = Path(f"{tmp_path}/data{hostile}")
    assert sorted(map(os.fsencode, os.listdir(tree))) == sorted(os.path.basename(os.fsencode(path)) for path in usable)
    assert len(digests) == len(usable)
    for name in os.listdir(os.fsencode(tree)):
        brought_bytes = Path(os.fsdecode(os.path.join(os.fsencode(tree), name, name))).read_bytes()
        assert brought_bytes == Path(os.fsdecode(os.path.join(os.fsencode(hostile), name, name))).read_bytes()
    assert list(Path("/root").glob("canary")) == list(Path("/").glob("canary")) == []


def test_what_a_host_may_call_its_files_comes_as_it_is(
    hostile: Path, ssh_server: SshServer, canary: Path, tmp_path: Path
) -> None:
    digests = brought(HostPlan(ssh_server.plan(), (str(hostile),), timeout_seconds=20), tmp_path / "data")

    assert compare(hostile, Path(f"{tmp_path}/data{hostile}")) == []
    inside = {path[len(os.fsencode(hostile)) :] for path in digests}
    assert inside == {name_of(name, canary) + b"/" + name_of(name, canary) for name in PATHS + ONLY_THERE}


@pytest.mark.parametrize("path", ["etc", "-rf", "/a/../b", "/a/./b", "/a\nb", "/a\x00b", "", "127.0.0.1:/etc"])
def test_paths_that_no_plan_may_hold(path: str, ssh_server: SshServer, canary: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        brought(HostPlan(ssh_server.plan(), (path,)), tmp_path / "data")


@pytest.mark.parametrize(
    "option", ["--rsh=touch {canary}", "-e touch {canary}", "--rsync-path=touch {canary}", "--daemon"]
)
def test_options_that_no_plan_may_hold(option: str, ssh_server: SshServer, canary: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        brought(HostPlan(ssh_server.plan(), ("/etc",), options=(option.format(canary=canary),)), tmp_path / "data")


def test_a_pattern_is_never_an_option(ssh_server: SshServer, canary: Path, tmp_path: Path, hostile: Path) -> None:
    patterns = tuple(os.fsdecode(name_of(name, canary)) for name in PATHS if not {0x7F, 0xFF} & set(name))

    plan = HostPlan(
        ssh_server.plan(), (str(hostile),), includes=patterns, excludes=("/*/x", *patterns), timeout_seconds=20
    )

    assert len(brought(plan, tmp_path / "data")) > len(ONLY_THERE)


def test_words_of_our_own_shell_keep_their_spaces() -> None:
    assert shell_option(["/usr/bin/ssh", "-i", "/a b/it's", ""]) == "--rsh=/usr/bin/ssh -i '/a b/it''s' ''"
