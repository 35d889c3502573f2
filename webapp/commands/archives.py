"""``holdfast archive``."""

from __future__ import annotations

import hashlib
import os
from argparse import Namespace
from pathlib import Path

from webapp.commands.base import (
    Answer,
    Context,
    Parsers,
    add_noun,
    add_verb,
    add_wait_option,
    ago,
    number_from_one,
    size,
    table,
    wait_until_final,
)
from webapp.commands.shapes import archive_shape, task_shape
from webapp.core.errors import ArchiveError, Conflict, InvalidInput
from webapp.core.status import VerificationLevel
from webapp.services import archives, points, tasks

BLOCK_BYTES = 1 << 20


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "archive", "the restore points")
    listed = add_verb(verbs, "list", list_archives, "show archives, the newest first")
    listed.add_argument("--instance", type=int)
    listed.add_argument("--database", default="")
    listed.add_argument("--limit", type=number_from_one, default=50)
    verify = add_verb(verbs, "verify", verify_archive, "ask a worker to prove it again")
    levels = [str(level) for level in VerificationLevel if level is not VerificationLevel.NONE]
    verify.add_argument("--level", choices=levels, default=str(VerificationLevel.COMPLETE))
    add_wait_option(verify)
    path = add_verb(verbs, "path", show_path, "print where its file lies")
    download = add_verb(verbs, "download", download_archive, "copy it to a new file, and prove the copy by its digest")
    pin = add_verb(verbs, "pin", pin_archive, "keep it for ever, whatever retention says")
    pin.add_argument("--note", default="", help="why, for those who come later")
    unpin = add_verb(verbs, "unpin", unpin_archive, "let retention decide about it again")
    delete = add_verb(verbs, "delete", delete_archive, "put it into the trash; it can be taken back for some days")
    delete.add_argument("--yes", action="store_true", help="really do it; without it only what would be lost is shown")
    delete.add_argument(
        "--typed", default="", metavar="DATABASE", help="the database's name, where the last one would go"
    )
    delete.add_argument("--for-good", action="store_true", help="one that is in the trash: remove its files now")
    back = add_verb(verbs, "take-back", take_archive_back, "take it out of the trash")
    for verb in (verify, path, download, pin, unpin, delete, back):
        verb.add_argument("id", type=int)
    download.add_argument("target", help="the new file, or a directory for it")


def list_archives(context: Context, arguments: Namespace) -> Answer:
    """Archives, the newest first."""
    wanted = archives.ArchiveFilter(arguments.instance, arguments.database, limit=arguments.limit)
    found, total = archives.list_archives(wanted)
    now = context.now()
    rows = [
        (
            one.id,
            one.instance_name,
            one.database_name,
            ago(one.taken_at, now),
            size(one.size_bytes),
            one.verification_status,
            one.state,
        )
        for one in found
    ]
    heads = ["ARCHIVE", "INSTANCE", "DATABASE", "TAKEN", "SIZE", "VERIFICATION", "STATE"]
    data = {"total": total, "archives": [archive_shape(one) for one in found]}
    return Answer(data, table(heads, rows, none="There are no archives."))


def verify_archive(context: Context, arguments: Namespace) -> Answer:
    """Ask for a verification; with --wait show what it found."""
    number = archives.request_verification(
        arguments.id, level=VerificationLevel(arguments.level), actor=context.actor, now=context.now()
    ).id
    good = wait_until_final([number]) if arguments.wait else True
    task = tasks.get_task(number)
    checks = tasks.checks_of(task)
    rows = [(check["state"], check["title"], check["detail"] or check["value"]) for check in checks]
    asked = task.error_message or f"Asked for task {number}. See: holdfast tasks show {number}"
    return Answer(
        {**task_shape(task), "checks": checks}, table(["ANSWER", "CHECK", "FOUND"], rows, none=asked), 0 if good else 1
    )


def show_path(_context: Context, arguments: Namespace) -> Answer:
    """Where it lies."""
    shape = archive_shape(archives.get_archive(arguments.id), with_path=True)
    return Answer(shape, shape["path"])


def download_archive(context: Context, arguments: Namespace) -> Answer:
    """Copy it. Raises ArchiveError when the copy is not what the archive should be; the copy is removed then."""
    archive = archives.get_archive(arguments.id)
    shape = archive_shape(archive)
    source = Path(archives.record_download(archive, actor=context.actor, now=context.now()))
    target = Path(arguments.target)
    if target.is_dir():
        target = target / source.name
    if _copy(source, target) != shape["sha256"]:
        target.unlink()
        raise ArchiveError(
            f"Archive {arguments.id} is not what was written: its digest differs.",
            hint=f"Run: holdfast archive verify {arguments.id}",
        )
    return Answer(
        {**shape, "copied_to": str(target)}, f"Copied to {target} ({size(shape['size_bytes'])}); the digest is right."
    )


def pin_archive(context: Context, arguments: Namespace) -> Answer:
    """Keep it for ever."""
    points.pin(arguments.id, arguments.note, actor=context.actor, now=context.now())
    return _shown(arguments.id, f"Archive {arguments.id} is pinned.")


def unpin_archive(context: Context, arguments: Namespace) -> Answer:
    """Let retention decide."""
    points.unpin(arguments.id, actor=context.actor, now=context.now())
    return _shown(arguments.id, f"Archive {arguments.id} is not pinned any more.")


def delete_archive(context: Context, arguments: Namespace) -> Answer:
    """Into the trash, or out of it for good. Raises InvalidInput without --yes or the word, Conflict when it is in use."""
    now = context.now()
    preview = points.deletion_preview(arguments.id, now=now)
    if not arguments.yes:
        left = f"{preview.others} other restore points of {preview.archive.database_name} are stored"
        raise InvalidInput(
            f"Nothing was changed: {left}, {preview.others_verified} of them verified.",
            hint="Add --yes to do it" + (f", and --typed {preview.must_type}." if preview.must_type else "."),
        )
    act = points.delete_for_good if arguments.for_good else points.delete
    act(arguments.id, typed=arguments.typed, digest=preview.digest, actor=context.actor, now=now)
    said = "is gone for good" if arguments.for_good else "is in the trash"
    return _shown(arguments.id, f"Archive {arguments.id} {said}.")


def take_archive_back(context: Context, arguments: Namespace) -> Answer:
    """Out of the trash."""
    points.take_back(arguments.id, actor=context.actor, now=context.now())
    return _shown(arguments.id, f"Archive {arguments.id} is taken back.")


def _shown(archive_id: int, text: str) -> Answer:
    return Answer(archive_shape(archives.get_archive(archive_id)), text)


def _copy(source: Path, target: Path) -> str:
    """Copy to a file that must not exist yet, to the disk, and return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            os.fchmod(writer.fileno(), 0o600)
            while block := reader.read(BLOCK_BYTES):
                digest.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
    except FileExistsError:
        raise Conflict(f"{target} exists already.", hint="Choose another name; nothing was overwritten.") from None
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written: {error.strerror}.") from None
    return digest.hexdigest()
