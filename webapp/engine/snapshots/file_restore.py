"""Files of a snapshot put back on a host, or into a directory of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.core.errors import HoldfastError, SourceError, StoreError
from webapp.core.restore_effects import Effect, count_changed, effects_in_words
from webapp.core.snapshot_plans import FileRestorePlan, FileRestoreResult
from webapp.core.status import ErrorCode, SnapshotLayout, SnapshotTarget
from webapp.core.text import format_count, plural
from webapp.engine.disk import disk_error
from webapp.engine.durable import sync_filesystem
from webapp.engine.endings import ProcessFailed
from webapp.engine.process import find_executable, stream
from webapp.engine.report import Reporter
from webapp.engine.snapshots.command import environment, find_rsync, shell_option
from webapp.engine.snapshots.itemised import OUT_FORMAT, Itemised, explained
from webapp.engine.snapshots.nodes import shown
from webapp.engine.snapshots.tree import chosen_parts
from webapp.engine.ssh import rsync_shell

TIMEOUT_SECONDS = 600
# Stands where a host does: «env LC_ALL=C rsync --server …» is all of the connection.
_HERE = "LC_ALL=C"
# Surrogates other than those that stand for single bytes are no text at all.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
# The login shell of a host could take these for a pattern that other directories fit as well.
_PATTERN = re.compile(r"[*?\[\]~]")


def run(plan: FileRestorePlan, reporter: Reporter) -> FileRestoreResult:
    """Put them there, or (``dry_run``) say what would be changed and change nothing.

    On a host everything is as it was, and directories on the way to what was chosen are made where they are missing and left
    alone where not. In a directory of this machine no devices, fifos and sockets are made, and no program gets setuid or setgid:
    whoever filled the snapshot shall not gain rights here. ``counts`` has the words of ``Effect``.

    Raises NotFound for a path that is not in the snapshot, SourceError when the host cannot be reached or refuses, StoreError
    for a directory that may not be written or is one of the snapshots' own.
    """
    reporter.step("restore", "Dry run" if plan.dry_run else "Restore files")
    chosen = chosen_parts(plan.place, plan.paths)
    target = _checked_target(plan, whole=chosen == [[]])
    told = Itemised()
    argv = [find_rsync().path, *_words(plan, whole=chosen == [[]])]
    names = None if chosen == [[]] else [b"".join(b"/" + b"/".join(parts) + b"\0" for parts in chosen)]
    with _destination(plan, target) as words:
        try:
            with stream(
                [*argv, *words],
                env=environment(),
                reporter=reporter,
                stdin=names,
                idle_seconds=None,  # both sides read whole files in silence; rsync and SSH notice a peer that is gone
            ) as chunks:
                for chunk in chunks:
                    for _ in told.feed(chunk):
                        pass
                    if told.blocked:
                        # rsync 3.5.0 would wait without end when that name is one of several of a hard-linked file.
                        raise _in_the_way(plan, told.blocked)
                    reporter.progress(told.handled_bytes, None, "bytes")
        except ProcessFailed as failed:
            raise _broken(plan, failed, told) from failed
    if plan.target is SnapshotTarget.DIRECTORY and not plan.dry_run:
        _sync(target)
    _report(plan, told, reporter)
    return FileRestoreResult(tuple(told.lines), {effect.value: told.counts[effect] for effect in Effect})


def _words(plan: FileRestorePlan, *, whole: bool) -> list[str]:
    words = [
        # By content: what was changed on the sly, size and time as before, is just what a restore is asked to put right.
        "--checksum",
        *("--archive", "--hard-links", "--numeric-ids", "--outbuf=L", OUT_FORMAT, "--info=progress2"),
        f"--timeout={TIMEOUT_SECONDS}",
    ]
    if not whole:
        words += ["--recursive", "--relative", "--no-implied-dirs", "--from0", "--files-from=-"]
    is_local = plan.target is SnapshotTarget.DIRECTORY
    chosen = {
        "--fake-super": plan.place.layout is SnapshotLayout.OURS,
        "--no-D": is_local,
        "--chmod=ug-s": is_local,
        # Else a time that differs by less than a second stays as it is; rrsync on a host refuses the word.
        "--modify-window=-1": is_local,
        "--mkpath": plan.target_path.rstrip("/") != "",
        "--delete": plan.delete_others,
        "--dry-run": plan.dry_run,
    }
    return words + [word for word, wanted in chosen.items() if wanted]


@contextmanager
def _destination(plan: FileRestorePlan, target: str) -> Iterator[list[str]]:
    source = f"{plan.place.tree}/"
    if plan.ssh is None:
        yield [*_here(), "--", source, f"{_HERE}:{target}/"]
        return
    with rsync_shell(plan.ssh) as (words, host):
        yield [shell_option(words), "--", source, f"{host}:{target}/"]


def _here() -> list[str]:
    """How rsync reaches a second rsync on this machine, for which alone what is said to the first does not hold.

    In a plain local copy ``--fake-super`` is for both sides, and what is written would be noted instead of real; its way out,
    ``--remote-option``, breaks rsync 3.5.0's local copies with ``--files-from`` («File-list index 12 not in 68»).
    """
    env, rsync = find_executable("env", ["/usr/bin"]) or "env", find_rsync().path
    return [f"--rsh={env}", f"--rsync-path={rsync}", "--secluded-args"]


def _checked_target(plan: FileRestorePlan, *, whole: bool) -> str:
    """The target's path without a slash at its end ("" for "/"). Raises SourceError, StoreError for what may not be one."""
    path = plan.target_path
    if not path.startswith("/") or _CONTROLS.search(path) or ".." in path.split("/"):
        raise _refused(f"{shown(path)!r} is not a path that files can be restored to.", "Write an absolute path.")
    if (plan.ssh is None) != (plan.target is SnapshotTarget.DIRECTORY):
        raise _refused("The restore names no host to restore to.", "Choose the host again.")
    target = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    target = "" if target == "/" else target
    if plan.ssh is None:
        _require_apart(plan, target)
        return target
    if _PATTERN.search(target):
        raise _refused(f"The path {shown(path)!r} has one of the characters * ? [ ] ~.", "Choose another directory.")
    if plan.delete_others and whole and not target:
        raise _refused(
            "Restoring a whole host in place may not delete what the snapshot has not: that would be /proc too.",
            "Choose the directories in which nothing else is to remain.",
        )
    return target


def _require_apart(plan: FileRestorePlan, target: str) -> None:
    """Nothing of this machine itself, and nothing of the snapshots, is written over."""
    if not target:
        raise _refused("Files cannot be restored over this machine's own root directory.", "Choose another directory.")
    real, root = os.path.realpath(target), os.path.realpath(plan.place.root)
    if os.path.commonpath((real, root)) in (real, root):
        raise StoreError(
            f"{shown(target)} and the backup root {shown(root)} lie one in the other.",
            hint="Choose a directory outside: a restore must never touch a snapshot.",
            code=ErrorCode.INVALID_CONFIGURATION,
            permanent=True,
        )


def _refused(message: str, hint: str) -> SourceError:
    return SourceError(message, hint=hint, code=ErrorCode.INVALID_CONFIGURATION, permanent=True)


def _broken(plan: FileRestorePlan, failed: ProcessFailed, told: Itemised) -> HoldfastError:
    where = plan.target_path if plan.ssh is None else plan.ssh.host
    error = explained(plan.ssh, failed, doing=f"Restoring to {shown(where)}", code=ErrorCode.RESTORE_FAILED)
    done = count_changed(told.counts)
    if done and not plan.dry_run:
        names = plural(done, "name was", "names were")
        error.message += f" {format_count(done)} {names} dealt with before; restoring again completes it."
    return error


def _in_the_way(plan: FileRestorePlan, name: str) -> SourceError:
    where = f"{plan.target_path.rstrip('/')}/{name}"
    return SourceError(
        f"{where} is a directory that is not empty, and something else in the snapshot.",
        hint="Move it away, or let the restore delete what the snapshot has not.",
        code=ErrorCode.RESTORE_FAILED,
        permanent=True,
    )


def _sync(target: str) -> None:
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_filesystem(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, f"sync {target}") from error


def _report(plan: FileRestorePlan, told: Itemised, reporter: Reporter) -> None:
    said = effects_in_words(told.counts, dry_run=plan.dry_run)
    reporter.log(", ".join(said) or "Nothing differs: all of it is there already.")
    if plan.ssh is not None and plan.ssh.user != "root":
        reporter.log(f"The user {plan.ssh.user!r} of the host can give files to no other owner than itself.", "warning")
    if skipped := told.counts[Effect.SKIPPED]:
        reporter.log(f"{skipped} devices, fifos or sockets are not made on this machine.", "warning")
