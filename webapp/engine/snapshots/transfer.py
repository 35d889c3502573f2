"""One pull: rsync brings the trees of a host into an unfinished snapshot, and what it said is understood."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from webapp.core.errors import SourceError
from webapp.core.path_text import path_bytes
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.core.text import format_duration, format_size
from webapp.engine.activity import bytes_read
from webapp.engine.disk import disk_error, require_free
from webapp.engine.process import Ending, ProcessFailed, stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.command import (
    KINDS,
    WHOLE_HOST,
    LocalRsync,
    Pull,
    environment,
    find_rsync,
    pull_words,
    pulled_paths,
    shell_option,
    stdin_of,
)
from webapp.engine.snapshots.exits import KEPT, Ended, judge, missing_error
from webapp.engine.snapshots.output import Complaints, Output, Progress
from webapp.engine.snapshots.places import XATTR
from webapp.engine.ssh import rsync_shell

LISTED_PATHS = 1000
_LOOK_SECONDS = 1.0
# rsync says two lines for each file, and thousands of files come in a second.
_LULL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Transfer:
    """What rsync did. ``unreadable_paths`` are the first thousand; ``digest`` is "xxh128" or "md5": that of the log.

    ``listed`` is how many files, links and the like the host named, None where rsync did not say.

    ``options`` are the words rsync was given, without those that only say how to reach the host.
    """

    digest: str
    transferred_bytes: int
    transfer_seconds: float
    transferred_files: int = 0
    listed: int | None = None
    vanished: int = 0
    unreadable: int = 0
    unreadable_paths: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[ErrorCode, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ways:
    """How a pull is to be done beside its plan.

    ``digest`` is the kind that the base's list has ("" for none), kept where the host can. ``reread`` trusts no size and time
    of what is there already, and compares contents. ``secluded`` False: the host is known not to take ``--secluded-args``.
    ``reserve_bytes`` stay free on the disk, or the pull is ended.
    """

    digest: str = ""
    reread: bool = False
    secluded: bool = True
    reserve_bytes: int = 0


def pull(
    plan: HostPlan, data: str, base_tree: str | None, *, digests: BinaryIO, reporter: Reporter, ways: Ways | None = None
) -> Transfer:
    """Bring the plan's paths into the directory ``data``; files that equal those in ``base_tree`` become hard links to them.

    To ``digests`` goes one record for each file that came, in the order of arrival: ``<digest> <size>/<path>`` and a NUL, the
    path relative to ``data`` with its bytes as they are; a later record of a path stands for an earlier one.

    Raises SourceError as ``docs/error-codes.md`` says, and StoreError; what came stays in ``data`` for the next attempt.
    """
    ways = ways or Ways()
    began = time.monotonic()
    program = find_rsync()
    watch = Watch(data, ways.reserve_bytes, reporter)
    in_place = base_tree is None and not os.listdir(data)
    call = Pull(plan, data, base_tree, secluded=ways.secluded, reread=ways.reread, in_place=in_place)
    ended = call_rsync(call, program, digest=ways.digest, digests=digests, watch=watch)
    if ended.refuses_secluded:
        call = replace(call, secluded=False)
        ended = call_rsync(call, program, digest=ways.digest, digests=digests, watch=watch)
    verdict = judge(ended, plan)
    _require_paths(plan, data)
    remove_unreadable(data, verdict.unreadable)
    return Transfer(
        digest=_kind(ended.output),
        transferred_bytes=ended.output.received_bytes,
        transfer_seconds=time.monotonic() - began,
        transferred_files=ended.output.files,
        listed=ended.output.listed,
        vanished=verdict.vanished,
        unreadable=len(verdict.unreadable),
        unreadable_paths=tuple(os.fsdecode(path) for path in verdict.unreadable[:LISTED_PATHS]),
        options=tuple(pull_words(call)),
        versions={"rsync": program.version, "remote_protocol": str(ended.output.protocol)},
        warnings=verdict.warnings,
    )


def call_rsync(
    call: Pull, program: LocalRsync, *, digest: str = "", digests: BinaryIO | None = None, watch: Watch
) -> Ended:
    """Call rsync once and wait for its end, whatever that is. Raises SourceError for a host that SSH cannot be asked about."""
    output, complaints = Output(), Complaints()
    with rsync_shell(call.plan.ssh) as (shell, host):
        argv = [program.path, *pull_words(call), shell_option(shell), "--", f"{host}:/", f"{call.data}/"]
        try:
            with stream(
                argv,
                env=environment(digest),
                reporter=watch.reporter,
                stdin=stdin_of(call.plan),
                idle_seconds=_patience(call),
                activity=watch.activity,
                on_error_line=complaints.take,
                lull_seconds=_LULL_SECONDS,
            ) as chunks:
                for chunk in chunks:
                    for arrived in output.feed(chunk):
                        if digests is not None:
                            digests.write(b"%b %d/%b\0" % (arrived.digest, arrived.size, arrived.path))
                    watch.look(output.progress)
        except ProcessFailed as error:
            if error.returncode is None:
                raise _not_ended(call, error) from error
            return Ended(error.returncode, output, complaints, error.stderr_tail)
    return Ended(0, output, complaints, "")


def _not_ended(call: Pull, error: ProcessFailed) -> SourceError:
    """For an rsync that could not start, or that we ended ourselves."""
    if error.ending is not Ending.STALLED:
        return SourceError(error.message, hint=error.hint, code=error.code, permanent=error.permanent)
    host = call.plan.ssh.host
    return SourceError(
        f"Nothing came from {host} for {format_duration(call.plan.timeout_seconds)}, so rsync was ended.{KEPT}",
        hint="Something on the host may hang, such as a network file system that is away.",
        code=ErrorCode.STALLED,
    )


def _patience(call: Pull) -> float | None:
    """How long rsync may read nothing at all. Its own --timeout does not see a host whose rsync hangs while SSH lives.

    None where the host reads whole files before it says anything about them.
    """
    reads_first = call.reread or "--checksum" in pull_words(call)
    return None if reads_first else max(call.plan.timeout_seconds, 1)


class Watch:
    """Tells how far rsync is, and ends it before the disk is full. Raises StoreError(disk_full), also when it is made."""

    def __init__(self, data: str, reserve_bytes: int, reporter: Reporter) -> None:
        self.reporter = reporter
        self._data = data
        self._reserve = reserve_bytes
        self._looked_at = time.monotonic()
        require_free(data, 0, reserve_bytes)

    def activity(self, pid: int) -> int:
        """How much rsync has read; asked for when it says nothing, as one does that could make no more files."""
        require_free(self._data, 0, self._reserve)
        return bytes_read(pid, "rsync")

    def look(self, progress: Progress) -> None:
        """At most once a second."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        require_free(self._data, 0, self._reserve)
        text = f"{format_size(progress.handled_bytes)} so far"
        self.reporter.progress(progress.looked_at, progress.known, "files", text)


def _kind(output: Output) -> str:
    """Of the digests; an rsync that cannot agree on one (before 3.2.0) uses MD5. Raises SourceError for any other."""
    kind = output.digest or "md5"
    if kind not in KINDS:
        raise SourceError(
            f"The host's rsync uses the checksum {kind}, which is too weak to rely on.",
            hint="Install rsync 3.0 or newer on the host.",
            code=ErrorCode.RSYNC_FAILED,
            permanent=True,
        )
    return kind


def _require_paths(plan: HostPlan, data: str) -> None:
    """Something came for every path, and none is only a link to where the files are. Raises SourceError."""
    paths = pulled_paths(plan)
    if paths == WHOLE_HOST:
        return
    missing = [path for path in paths if not os.path.lexists(_inside(data, path))]
    if missing:
        raise missing_error(missing)
    links = [path for path in paths if _is_link(_inside(data, path))]
    if links:
        raise SourceError(
            f"{links[0]} is a symbolic link on the host, so nothing of what it leads to came.",
            hint="Give the path that it leads to.",
            code=ErrorCode.FILES_UNREADABLE,
            permanent=True,
        )


def _inside(data: str, path: str) -> bytes:
    return os.fsencode(data) + path_bytes(path)


def _is_link(path: bytes) -> bool:
    """Whether a file of a tree of ours stands for a symbolic link: rsync's --fake-super notes the mode as its first word."""
    try:
        noted = os.getxattr(path, XATTR, follow_symlinks=False)
    except OSError:
        return False
    return noted.startswith(b"120")


def remove_unreadable(data: str, paths: Sequence[bytes]) -> None:
    """Take files that could not be read to their end out of the tree: what an earlier attempt left of them is not theirs.

    The paths are the host's words, so each is looked up below ``data`` and nowhere else. Raises StoreError.
    """
    for path in paths:
        if b".." in path.split(b"/"):
            continue
        place = os.fsencode(data) + b"/" + path.lstrip(b"/")
        try:
            if os.path.isfile(place) and not os.path.islink(place):
                os.unlink(place)
        except OSError as error:
            raise disk_error(error, "remove what an unreadable file left") from error
