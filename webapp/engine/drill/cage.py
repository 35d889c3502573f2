"""The cage: what a drill's programs run in, so that a dump which runs code finds no way out.

As strong as the kernel and our own rights allow:

- *full* (we are root): own namespaces for processes, network, IPC and mounts; an unprivileged user that no file belongs to; no
  capability, no way to gain one; everything read-only but the cluster's own directory, an empty /tmp and /dev/shm.
- *user* (we are not root): own namespaces for processes, network and IPC, as ourselves.
- *plain* (the kernel refuses both, as in most containers): an unprivileged user, nothing more.

With a process namespace everything in it dies when its first process dies, and that one dies with us.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from webapp.core.errors import HoldfastError
from webapp.core.status import ErrorCode
from webapp.engine.process import Ending, ProcessFailed, clean_environment, find_executable, run

# Not given to anybody by common system tools: below systemd's dynamic users (61184…65519), above ordinary ones.
FIRST_UID = 60_800
MANY_UIDS = 300
NOBODY = 65_534
_EXTRA_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_STAGES = ("/mnt", "/media", "/srv", "/opt")
_NAMESPACES = ("--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child")

# $1 stage, $2 programs, $3 home, $4 uid; the rest is the command. Bound first, since what is covered later may hold them.
_SCRIPT = """
set -e
stage=$1 programs=$2 home=$3 uid=$4
shift 4
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=1m tmpfs "$stage"
mkdir "$stage/programs" "$stage/drill"
mount --bind "$programs" "$stage/programs"
mount --bind "$home" "$stage/drill"
mount --bind "$stage/drill/passwd" /etc/passwd
mount -t proc proc /proc
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777,size=64m tmpfs /tmp
mount -o remount,bind,ro /
cd "$stage/drill"
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
  --pdeathsig=KILL -- "$@"
"""


class Strength(StrEnum):
    """See the module docstring."""

    FULL = "full"
    USER = "user"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Cage:
    """How to start a program so that it can reach ``home`` and the PostgreSQL programs below ``programs``, and little else."""

    strength: Strength
    home: str
    programs: str
    uid: int

    @property
    def has_no_network(self) -> bool:
        """Whether what runs inside can reach nothing outside this machine, nor its other services."""
        return self.strength is not Strength.PLAIN

    @property
    def stop_signal(self) -> signal.Signals:
        """What ends everything inside at once: without a process namespace PostgreSQL must end its own children."""
        return signal.SIGQUIT if self.strength is Strength.PLAIN else signal.SIGKILL

    def inside(self, path: str) -> str:
        """A path below ``home`` or ``programs`` as the programs inside see it."""
        if self.strength is not Strength.FULL:
            return path
        for outside, name in ((self.home, "drill"), (self.programs, "programs")):
            if path == outside or path.startswith(outside + "/"):
                return f"{self._stage}/{name}{path[len(outside) :]}"
        return path

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command, to be started in the cage."""
        words = [self.inside(word) if word.startswith("/") else word for word in command]
        if self.strength is Strength.FULL:
            start = [_program("unshare"), "--mount", *_NAMESPACES, "--", "/bin/sh", "-c", _SCRIPT, "cage"]
            return [*start, self._stage, self.programs, self.home, str(self.uid), *words]
        if self.strength is Strength.USER:
            start = [_program("unshare"), "--user", "--map-current-user", *_NAMESPACES, "--"]
            return [*start, _program("setpriv"), "--no-new-privs", "--pdeathsig=KILL", "--", *words]
        start = [_program("setpriv"), "--no-new-privs", "--pdeathsig=QUIT"]
        if os.geteuid() == 0:
            start += [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--bounding-set=-all"]
            start += ["--inh-caps=-all"]
        return [*start, "--", *words]

    @property
    def _stage(self) -> str:
        """A directory of every system that may be covered: it leads to neither path."""
        below = (self.home + "/", self.programs + "/")
        for stage in _STAGES:
            if os.path.isdir(stage) and not any(path.startswith(stage + "/") for path in below):
                return stage
        raise _impossible(f"None of {', '.join(_STAGES)} can be used to build the cage of a drill.")


def make_cage(home: str, programs: str, postgres: str) -> Cage:
    """The strongest cage that works here; ``home`` exists and becomes its user's. Raises HoldfastError(drill_impossible).

    Args:
        home: The one directory that can be written inside.
        programs: The directory that must be reachable for ``postgres`` to run.
        postgres: A program to try it with.
    """
    _prepare(home)
    for strength, uid in _choices(home):
        cage = Cage(strength, home, programs, uid)
        if os.geteuid() == 0:
            os.chown(home, uid, uid)
        if _works(cage, postgres):
            return cage
    raise _impossible(
        f"PostgreSQL's programs in {programs} cannot be run by an unprivileged user on {home}.",
        hint="Others must be able to read the programs (chmod -R go+rX) and, where the kernel gives us no namespaces, to enter"
        " HOLDFAST_DRILL_DIR.",
    )


def _choices(home: str) -> list[tuple[Strength, int]]:
    if os.geteuid() != 0:
        return [(Strength.USER, os.geteuid()), (Strength.PLAIN, os.geteuid())]
    uid = FIRST_UID + os.stat(home).st_ino % MANY_UIDS
    return [(Strength.FULL, uid), (Strength.PLAIN, NOBODY)]


def _prepare(home: str) -> None:
    """The user must have a name, or initdb refuses."""
    users = ["root:x:0:0::/:/bin/false", f"nobody:x:{NOBODY}:{NOBODY}::/:/bin/false"]
    users += [f"drill{uid}:x:{uid}:{uid}::/:/bin/false" for uid in range(FIRST_UID, FIRST_UID + MANY_UIDS)]
    passwd = Path(home) / "passwd"
    passwd.write_text("\n".join(users) + "\n")
    passwd.chmod(0o644)


def _works(cage: Cage, postgres: str) -> bool:
    """Whether a PostgreSQL program starts inside and its home is there."""
    command = ["/bin/sh", "-c", 'test -w "$1" && exec "$2" --version', "try", cage.home, postgres]
    try:
        return run(cage.argv(command), env=clean_environment(), timeout_seconds=20).returncode == 0
    except ProcessFailed:
        return False


def _program(name: str) -> str:
    found = find_executable(name, _EXTRA_DIRECTORIES)
    if found is None:
        raise ProcessFailed(name, Ending.NOT_STARTED)
    return found


def _impossible(message: str, hint: str = "") -> HoldfastError:
    return HoldfastError(message, hint=hint, code=ErrorCode.DRILL_IMPOSSIBLE, permanent=True)
