"""The connection test of a host: from its name to the free space for its snapshots."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from webapp.core.errors import StoreError
from webapp.core.path_text import path_bytes, path_from_bytes
from webapp.core.plans import SshPlan
from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.core.text import format_count, format_size, plural
from webapp.engine.answers import Answer, asked, check_of, find_addresses, good, knock
from webapp.engine.disk import FULL_HINT, free_bytes
from webapp.engine.process import run
from webapp.engine.report import Reporter
from webapp.engine.snapshots.command import (
    WHOLE_HOST,
    Question,
    environment,
    find_rsync,
    pulled_paths,
    question_words,
    shell_option,
)
from webapp.engine.snapshots.exits import Ended, judge
from webapp.engine.snapshots.output import Complaints, Output, unescape
from webapp.engine.snapshots.places import MARKER, open_root, require_usable
from webapp.engine.ssh import fingerprint, rsync_shell, run_remote

_QUESTION_SECONDS = 120
# Protocol 31 came with rsync 3.1 (2013): times to the nanosecond, and every later check of paths.
_PROTOCOL = 31
# In the value of the check «rsync»: the host does not take ``--secluded-args``.
LIMITED = "limited by rrsync"
_TITLES: Mapping[str, str] = {
    "dns": "Host name",
    "tcp": "Connection",
    "ssh": "SSH login",
    "rsync": "rsync on the host",
    "paths": "Paths readable",
    "local_rsync": "rsync of this machine",
    "root": "Backup root",
    "free_space": "Free space",
}
_WAY = ("dns", "tcp", "ssh", "rsync")
_ON_HOST = (*_WAY, "paths")
_ENTRY = re.compile(r"[<>ch.*](\S)\S{5,11} (.+)", re.DOTALL)


def probe_host(plan: HostPlan, *, root: str, reserve_bytes: int, reporter: Reporter) -> list[Check]:
    """Ask everything that a snapshot will need, in this order; what cannot be asked after a failure is skipped.

    Keys: dns, tcp, ssh, rsync, paths, local_rsync, root, free_space. Changes nothing on the host. Raises TaskStopped only.
    """
    questions = _Questions(plan, root, reserve_bytes, reporter)
    checks: list[Check] = []
    blocked = False
    for key, title in _TITLES.items():
        if blocked and key in _ON_HOST:
            checks.append(check_of(key, _TITLES, None))
            continue
        reporter.check()
        reporter.step(key, title)
        checks.append(check_of(key, _TITLES, asked(getattr(questions, key))))
        blocked = blocked or (key in _WAY and checks[-1].state is CheckState.FAILED)
    return checks


class _Questions:
    """One method for each key."""

    def __init__(self, plan: HostPlan, root: str, reserve_bytes: int, reporter: Reporter) -> None:
        self._plan = plan
        self._root = root
        self._reserve = reserve_bytes
        self._reporter = reporter
        self._first: _Said | None = None

    @property
    def _ssh(self) -> SshPlan:
        return self._plan.ssh

    def dns(self) -> Answer:
        return find_addresses(self._ssh.host, self._ssh.port)

    def tcp(self) -> Answer:
        hint = "Check the port, that sshd runs, and firewalls in between."
        return knock(self._ssh.host, self._ssh.port, hint=hint)

    def ssh(self) -> Answer:
        finished = run_remote(self._ssh, ["true"], reporter=self._reporter)
        limited = "" if finished.returncode == 0 else " The key is limited to a command of its own."
        shown = fingerprint(self._ssh.host_key)
        return good(f"The host shows the pinned key, {shown}, and lets {self._ssh.user} in.{limited}", self._ssh.user)

    def rsync(self) -> Answer:
        said = self._said()
        if not said.ended.output.protocol:
            judge(said.ended, self._plan)
        protocol = said.ended.output.protocol
        how = "names travel inside the protocol" if said.secluded else f"the far side is {LIMITED}"
        detail = f"rsync answers in protocol {protocol}; {how}."
        value = f"protocol {protocol}" + ("" if said.secluded else f", {LIMITED}")
        if protocol < _PROTOCOL:
            hint = "Install rsync 3.1 or newer on the host: older ones know times to the second only."
            return CheckState.WARNING, detail, value, hint, ErrorCode.CLIENT_TOO_OLD
        return good(detail, value)

    def paths(self) -> Answer:
        said = self._said()
        judge(said.ended, self._plan)
        links = [path for path in pulled_paths(self._plan) if said.kinds.get(path.strip("/")) == "L"]
        if links:
            detail = f"{links[0]} is a symbolic link on the host: only the link would be in the snapshot."
            return CheckState.FAILED, detail, "link", "Give the path that it leads to.", ErrorCode.FILES_UNREADABLE
        directories = [path for path in pulled_paths(self._plan) if said.kinds.get(path.strip("/")) == "d"]
        entries = 0
        if directories and pulled_paths(self._plan) != WHOLE_HOST:
            inside = self._ask(Question(self._plan, tuple(f"{path}/" for path in directories), said.secluded))
            judge(inside.ended, self._plan)
            entries = len(inside.kinds)
        count = len(pulled_paths(self._plan))
        detail = f"{format_count(count)} {plural(count, 'path is', 'paths are')} there and can be listed."
        return good(detail, f"{format_count(entries)} entries" if entries else format_count(count))

    def local_rsync(self) -> Answer:
        version = find_rsync().version
        return good(f"rsync {version} is installed here.", version)

    def root(self) -> Answer:
        try:
            open_root(self._root)
            require_usable(self._root)
        except StoreError:
            if os.path.lexists(os.path.join(self._root, MARKER)):
                raise
            return self._new_root()
        return good(f"{self._root} is there, can be written, and takes the attributes that owners are kept in.")

    def free_space(self) -> Answer:
        free = free_bytes(_existing(self._root))
        shown = format_size(free)
        if free < self._reserve:
            detail = f"{shown} are free; {format_size(self._reserve)} must stay free."
            return CheckState.FAILED, detail, shown, FULL_HINT, ErrorCode.DISK_FULL
        return good(f"{shown} are free where snapshots are kept.", shown)

    def _new_root(self) -> Answer:
        """A root without its marker: one that was never used, or one whose disk is away. The first snapshot tells."""
        require_usable(_existing(self._root))
        return good(f"{self._root} carries no marker yet; it gets one with the first snapshot.", "new")

    def _said(self) -> _Said:
        if self._first is None:
            paths = pulled_paths(self._plan)
            self._first = self._ask(Question(self._plan, paths))
            if self._first.ended.refuses_secluded:
                self._first = self._ask(Question(self._plan, paths, secluded=False))
        return self._first

    def _ask(self, question: Question) -> _Said:
        listed = b"".join(path_bytes(path) + b"\0" for path in question.paths)
        with rsync_shell(self._ssh) as (shell, host):
            argv = [
                find_rsync().path,
                *question_words(question),
                shell_option(shell),
                "--",
                f"{host}:/",
                "/nonexistent/",
            ]
            finished = run(
                argv,
                env=environment(),
                timeout_seconds=_QUESTION_SECONDS,
                input=None if question.paths == WHOLE_HOST else listed,
                reporter=self._reporter,
            )
        output, complaints = Output(), Complaints()
        list(output.feed(finished.stdout + b"\n"))
        for line in finished.stderr_tail.encode().splitlines():
            complaints.take(line)
        kinds = _kinds(finished.stdout)
        return _Said(Ended(finished.returncode, output, complaints, finished.stderr_tail), kinds, question.secluded)


class _Said:
    """An answer of the host's rsync: how it ended, and of which kind (f, d, L, …) each path is that it named."""

    def __init__(self, ended: Ended, kinds: Mapping[str, str], secluded: bool) -> None:
        self.ended = ended
        self.kinds = kinds
        self.secluded = secluded


def _kinds(stdout: bytes) -> dict[str, str]:
    found = {}
    for line in stdout.split(b"\n"):
        if entry := _ENTRY.fullmatch(path_from_bytes(line)):
            name = path_from_bytes(unescape(path_bytes(entry[2])))
            found[name.strip("/")] = entry[1]
    return found


def _existing(path: str) -> str:
    """The path, or the nearest directory above it that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path.rstrip("/")) or "/"
    return path
