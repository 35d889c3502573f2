"""What the end of rsync means: good, good with a warning, or a failure that a person can understand."""

from __future__ import annotations

import fnmatch
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from webapp.core.errors import HoldfastError, SourceError, StoreError
from webapp.core.path_text import path_bytes, path_from_bytes
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.core.text import format_count, plural, strip_controls, tail_lines
from webapp.engine.disk import FULL_HINT, TOO_LONG_HINT
from webapp.engine.snapshots.command import pulled_paths
from webapp.engine.snapshots.output import CHANGING, MAX_COMPLAINTS, Complaints, Output
from webapp.engine.ssh import explain

GOOD, PARTIAL, VANISHED = 0, 23, 24
_SHOWN = 5
_LONGEST_LINE = 300
KEPT = " What has arrived is kept for the next attempt."
# rsync(1), EXIT VALUES: those that another attempt may not meet again, each with its code and its sentence.
_BROKEN: dict[int, tuple[ErrorCode, str]] = {
    10: (ErrorCode.CONNECTION_LOST, "the connection broke off (an error on the socket)"),
    11: (ErrorCode.RSYNC_FAILED, "a file could not be read or written"),
    12: (ErrorCode.CONNECTION_LOST, "the connection broke off in the middle of the protocol"),
    30: (ErrorCode.STALLED, "nothing came from the host for too long"),
    35: (ErrorCode.CONNECTION_FAILED, "the host did not answer in time"),
    255: (ErrorCode.SSH_FAILED, "SSH ended"),
}
# Those that the same call would meet again.
_LASTING = {
    1: "it does not know an option",
    2: "the two rsyncs do not understand each other",
    4: "an action is not supported",
}
_DISK = {
    "No space left on device": (ErrorCode.DISK_FULL, FULL_HINT),
    "Disk quota exceeded": (ErrorCode.DISK_FULL, FULL_HINT),
    "Read-only file system": (ErrorCode.STORE_UNAVAILABLE, "The backup root must be mounted writable."),
    "Permission denied": (
        ErrorCode.STORE_UNAVAILABLE,
        "The backup root must belong to the user that Holdfast runs as.",
    ),
    "Operation not supported": (
        ErrorCode.STORE_UNAVAILABLE,
        "The backup root's file system must take user attributes.",
    ),
    "Argument list too long": (ErrorCode.STORE_UNAVAILABLE, "The backup root's file system must take user attributes."),
    "File name too long": (ErrorCode.STORE_ERROR, TOO_LONG_HINT),
    "Input/output error": (ErrorCode.STORE_ERROR, "The disk may be failing; look at the system's log."),
}
_NO_RSYNC = (
    "rsync: not found",
    "rsync: command not found",
    "rsync: No such file or directory",
    "Unknown command: rsync",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one call of rsync ended."""

    returncode: int
    output: Output
    complaints: Complaints
    stderr: str

    @property
    def refuses_secluded(self) -> bool:
        """Whether the far side ended it because it does not take ``--secluded-args``: rrsync, or an rsync before 3.0."""
        refused = ("has been disabled on this server", "unknown option", "invalid rsync-command syntax")
        return self.returncode != GOOD and not self.output.protocol and any(words in self.stderr for words in refused)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said about a pull that is good. ``unreadable``: paths of the host, all accepted."""

    warnings: tuple[tuple[ErrorCode, str], ...] = ()
    vanished: int = 0
    unreadable: tuple[bytes, ...] = field(default=())


def judge(ended: Ended, plan: HostPlan) -> Verdict:
    """The verdict on a call that did its work. Raises SourceError or StoreError for every other; an unknown end is a failure."""
    code = ended.returncode
    if code not in (GOOD, VANISHED):
        _require_disk(ended)
    if code == PARTIAL:
        return _judge_partial(ended, plan)
    if code not in (GOOD, VANISHED):
        raise _failure(ended, plan)
    vanished = max(ended.complaints.vanished, 1 if code == VANISHED else 0)
    return Verdict(_vanished_warning(vanished), vanished)


def _vanished_warning(count: int) -> tuple[tuple[ErrorCode, str], ...]:
    if not count:
        return ()
    files = plural(count, "file was", "files were")
    return ((ErrorCode.FILES_VANISHED, f"{format_count(count)} {files} deleted on the host while it was copied."),)


def _require_disk(ended: Ended) -> None:
    """Raise what the disk of this machine said, where that is why rsync failed."""
    said = [(line, *found) for line in ended.complaints.local for words, found in _DISK.items() if words in line]
    if said:
        line, code, hint = said[0]
        raise StoreError(f"The snapshot could not be written: {_cut(line)}", hint=hint, code=code)
    # Our end of a host that hung up says «Broken pipe»: that is no disk, and what the host said before it is the reason.
    local = [line for line in ended.complaints.local if "Broken pipe" not in line]
    if ended.returncode == PARTIAL and local:
        raise StoreError(f"The snapshot could not be written: {_cut(local[0])}", hint="Look at the backup root's disk.")


def _cut(line: str) -> str:
    """A line for a sentence. Its middle, where a long path stands, may be left out; the reason, at its end, may not."""
    text = strip_controls(line)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 100]}…{text[-100:]}"


def _judge_partial(ended: Ended, plan: HostPlan) -> Verdict:
    complaints = ended.complaints
    if missing := _missing_paths(plan, complaints):
        raise missing_error(missing)
    if complaints.cut_short and not complaints.unreadable and not complaints.unnamed:
        return Verdict(
            _vanished_warning(complaints.vanished), complaints.vanished
        )  # All came whole at the second reading.
    if not complaints.unreadable or complaints.unnamed:
        why = strip_controls(complaints.unnamed[0])[:300] if complaints.unnamed else "it does not say which"
        raise _unreadable_error(f"rsync could not bring everything: {why}.")
    refused = [path for path in complaints.unreadable if not _is_accepted(path, plan)]
    count = complaints.unreadable_count
    if refused or len(complaints.unreadable) >= MAX_COMPLAINTS:
        listed = _listed(refused or list(complaints.unreadable), complaints)
        sentence = f"{format_count(count)} {plural(count, 'path', 'paths')} could not be read: {listed}."
        lasting = any(complaints.unreadable[path] != CHANGING for path in refused or complaints.unreadable)
        raise _unreadable_error(sentence, permanent=lasting)
    listed = _listed(list(complaints.unreadable), complaints)
    accepted = f"{format_count(count)} {plural(count, 'path', 'paths')} could not be read, as accepted: {listed}."
    warnings = ((ErrorCode.FILES_UNREADABLE, accepted), *_vanished_warning(complaints.vanished))
    return Verdict(warnings, complaints.vanished, tuple(complaints.unreadable))


def _missing_paths(plan: HostPlan, complaints: Complaints) -> list[str]:
    gone = [path for path, reason in complaints.unreadable.items() if reason.startswith("No such file")]
    return [path for path in pulled_paths(plan) if path_bytes(path) in gone]


def missing_error(paths: Sequence[str]) -> SourceError:
    """Paths of the plan that the host does not have, or did not give."""
    shown = ", ".join(strip_controls(path)[:200] for path in paths[:_SHOWN])
    return SourceError(
        f"Nothing came for {shown}: the host does not have {plural(len(paths), 'it', 'them')}, or an exclude hides it.",
        hint="Check the paths of the host or job, and that a disk that should be there is mounted.",
        code=ErrorCode.FILES_UNREADABLE,
        permanent=True,
    )


def _unreadable_error(sentence: str, *, permanent: bool = True) -> SourceError:
    hint = (
        "Let the user read them, exclude them, or list them in the host's settings as paths that may stay unreadable."
    )
    return SourceError(sentence, hint=hint, code=ErrorCode.FILES_UNREADABLE, permanent=permanent)


def _is_accepted(path: bytes, plan: HostPlan) -> bool:
    text = path_from_bytes(path)
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in plan.accepted_errors)


def _listed(paths: Sequence[bytes], complaints: Complaints) -> str:
    shown = [
        f"{strip_controls(path.decode('utf-8', 'replace'))[:200]} ({strip_controls(complaints.unreadable[path])[:80]})"
        for path in paths[:_SHOWN]
    ]
    return ", ".join(shown) + (f" and {format_count(len(paths) - _SHOWN)} more" if len(paths) > _SHOWN else "")


def _failure(ended: Ended, plan: HostPlan) -> HoldfastError:
    place = plan.ssh.host
    code, last = ended.returncode, _last_words(ended.stderr)
    if code < 0:
        return SourceError(f"rsync was killed by {_signal(code)}.{KEPT}", code=ErrorCode.RSYNC_FAILED)
    of_ssh = None if ended.output.protocol else explain(plan.ssh, ended.stderr)
    if of_ssh is not None:
        return of_ssh
    if not ended.output.protocol and any(words in ended.stderr for words in _NO_RSYNC):
        hint = "Install rsync on the host; its user must find it on the PATH."
        return SourceError(f"{place} has no rsync.", hint=hint, code=ErrorCode.RSYNC_FAILED, permanent=True)
    if code in _BROKEN and ended.output.protocol:
        word, why = _BROKEN[code]
        hint = "Check the network between here and there, and that the host is up."
        return SourceError(f"rsync from {place} failed ({code}): {why}.{last}{KEPT}", hint=hint, code=word)
    why = f" ({_LASTING[code]})" if code in _LASTING else ""
    return SourceError(
        f"rsync from {place} ended with code {code}{why}.{last}",
        hint="Test the connection of the host; its SSH user may be limited to another command than rsync.",
        code=_BROKEN[code][0] if code in (30, 35, 255) else ErrorCode.RSYNC_FAILED,
        permanent=code in _LASTING,
    )


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("rsync error: ")]
    lines = [line for line in lines if "connection unexpectedly closed" not in line]
    text = strip_controls(tail_lines("\n".join(lines), 2, 400)).replace("\n", " ")
    return f" It said: {text}." if text else ""


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
