"""A sample of a snapshot compared with what its host has now, by checksum of both."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from webapp.core.reports import Check, CheckState
from webapp.core.snapshot_manifest import LIST_NAME
from webapp.core.snapshot_plans import HostPlan, SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.core.text import format_count, plural
from webapp.engine.endings import ProcessFailed
from webapp.engine.process import stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.command import environment, find_rsync, shell_option
from webapp.engine.snapshots.exits import PARTIAL, VANISHED
from webapp.engine.snapshots.itemised import OUT_FORMAT, Item, Itemised, explained
from webapp.engine.snapshots.listing import is_other, read_list
from webapp.engine.snapshots.nodes import shown
from webapp.engine.snapshots.output import Complaints
from webapp.engine.snapshots.tree import look_at, opened_tree, walk
from webapp.engine.ssh import rsync_shell

# Both sides read the sample from beginning to end.
LARGEST_FILE_BYTES = 64 * 1024 * 1024
_NAMED = 20


def compare_live(place: SnapshotPlace, host: HostPlan, reporter: Reporter, *, sample_files: int = 200) -> list[Check]:
    """What a dry run of rsync with checksums says about a sample of the snapshot's files. Changes nothing on either side.

    Files that were changed or removed on the host since are no fault. One of the same size and time with another content is
    (HOST_DIFFERS, a warning): it was changed unseen, there or here. Keys: live_sample, live_contents. Raises NotFound,
    SourceError.
    """
    reporter.step("compare", "Compare a sample with the host")
    sample = _choose(place, sample_files, reporter)
    if not sample:
        return [_check("live_sample", CheckState.SKIPPED, "The snapshot has no file of a size that is compared.", "0")]
    outcome = _ask(place, host, sample, reporter)
    reporter.log(outcome.sentence(len(sample)))
    return [_sampled(outcome, len(sample)), _contents(outcome, len(sample))]


@dataclass(slots=True)
class _Outcome:
    changed: int = 0
    unseen: list[str] = field(default_factory=list)
    unseen_count: int = 0
    gone: int = 0
    unreadable: int = 0

    @property
    def differing(self) -> int:
        return self.changed + self.unseen_count + self.gone + self.unreadable

    def take(self, item: Item) -> None:
        """One file that rsync would bring again, or of which an attribute is new."""
        if item.flags[1:2] == "d":
            return
        # The third to fifth letter: checksum, size, time.
        if item.is_file and item.flags[2:5] == "c..":
            self.unseen_count += 1
            if len(self.unseen) < _NAMED:
                self.unseen.append("/" + shown(os.fsdecode(item.name)))
        else:
            self.changed += 1

    def sentence(self, asked: int) -> str:
        words = [f"{format_count(asked)} {plural(asked, 'file', 'files')} compared"]
        words += [f"{self.changed} changed since"] if self.changed else []
        words += [f"{self.gone} no longer there"] if self.gone else []
        words += [f"{self.unreadable} unreadable"] if self.unreadable else []
        words += [f"{self.unseen_count} with another content"] if self.unseen_count else []
        return ", ".join(words) + ("." if self.differing else ", all equal.")


def _choose(place: SnapshotPlace, count: int, reporter: Reporter) -> list[bytes]:
    """Paths of up to ``count`` regular files, each as likely as any other, in the order of the tree."""
    dice = random.Random()  # noqa: S311 - a sample, no secret
    kept: list[bytes] = []
    for number, path in enumerate(_files(place, reporter)):
        if number < count:
            kept.append(path)
        elif (at := dice.randrange(number + 1)) < count:
            kept[at] = path
    return sorted(kept)


def _files(place: SnapshotPlace, reporter: Reporter) -> Iterator[bytes]:
    with opened_tree(place) as root:
        if place.layout is SnapshotLayout.OURS:
            for entry in read_list(f"{place.path}/{LIST_NAME}", reporter=reporter):
                if entry.type == b"f" and entry.size <= LARGEST_FILE_BYTES and not is_other(entry.noted):
                    yield entry.path
            return
        for walked in walk(root, []):
            reporter.check()
            node = look_at(walked.parent, walked.name, walked.path, layout=place.layout)
            if node.is_file and node.size_bytes <= LARGEST_FILE_BYTES:
                yield walked.path


def _ask(place: SnapshotPlace, host: HostPlan, sample: list[bytes], reporter: Reporter) -> _Outcome:
    outcome, told, complaints = _Outcome(), Itemised(), Complaints()
    words = ["--archive", "--numeric-ids", "--dry-run", "--checksum", "--outbuf=L", OUT_FORMAT]
    words += ["--no-implied-dirs", "--from0", "--files-from=-", f"--timeout={max(host.timeout_seconds, 1)}"]
    if place.layout is SnapshotLayout.OURS:
        words.append("--fake-super")
    with rsync_shell(host.ssh) as (shell, name):
        argv = [find_rsync().path, *words, shell_option(shell), "--", f"{name}:/", f"{place.tree}/"]
        try:
            with stream(
                argv,
                env=environment(),
                reporter=reporter,
                stdin=[b"".join(b"/" + path + b"\0" for path in sample)],
                idle_seconds=2 * host.timeout_seconds,
                on_error_line=complaints.take,
            ) as chunks:
                for chunk in chunks:
                    for item in told.feed(chunk):
                        outcome.take(item)
        except ProcessFailed as failed:
            if not told_all(failed.returncode, complaints):
                doing = f"Comparing with {host.ssh.host}"
                raise explained(host.ssh, failed, doing=doing, code=ErrorCode.RSYNC_FAILED) from failed
    missing = sum("No such file" in reason for reason in complaints.unreadable.values())
    outcome.gone = missing + complaints.vanished
    outcome.unreadable = len(complaints.unreadable) - missing
    return outcome


def told_all(returncode: int | None, complaints: Complaints) -> bool:
    """Whether rsync, which did not end well, has compared all but the files that it named."""
    # A host that has none of the files ends first, which breaks the receiver's pipe.
    refused = [line for line in complaints.local if "Broken pipe" not in line]
    if complaints.unnamed or refused:
        return False
    named = complaints.unreadable or complaints.vanished
    return returncode == VANISHED or (returncode == PARTIAL and bool(named))


def _sampled(outcome: _Outcome, asked: int) -> Check:
    compared = asked - outcome.gone - outcome.unreadable
    state = CheckState.PASSED if compared and not outcome.unreadable else CheckState.WARNING
    hint = (
        ""
        if state is CheckState.PASSED
        else "Let Holdfast's user read these files on the host, or look why they are gone."
    )
    return _check("live_sample", state, outcome.sentence(asked), format_count(asked), hint)


def _contents(outcome: _Outcome, asked: int) -> Check:
    if not outcome.unseen_count:
        equal = asked - outcome.differing
        detail = "No file differs whose size and time say that it is the same."
        return _check("live_contents", CheckState.PASSED, detail, f"{format_count(equal)} equal")
    hint = "Look at these files on the host and in an older snapshot; one of the two was changed unseen."
    detail = "Same size and time, another content: " + ", ".join(outcome.unseen)
    return _check("live_contents", CheckState.WARNING, detail, format_count(outcome.unseen_count), hint)


_TITLES = {"live_sample": "Sample compared with the host", "live_contents": "Nothing changed unseen"}


def _check(key: str, state: CheckState, detail: str, value: str, hint: str = "") -> Check:
    code = None
    if state is CheckState.WARNING:
        code = ErrorCode.HOST_DIFFERS if key == "live_contents" else ErrorCode.FILES_UNREADABLE
    return Check(key, _TITLES[key], state, detail, value, hint, code)
