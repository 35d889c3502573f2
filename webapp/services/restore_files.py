"""The file that a restore left (one attachment, one table): handed out to those who may download archives, and recorded."""

from __future__ import annotations

import os
import stat
from datetime import datetime

from webapp.core.actors import Actor
from webapp.core.errors import NotFound
from webapp.services import audit
from webapp.services.restore_rules import restore_root
from webapp.services.restores import get_restore
from webapp.store.db import writing
from webapp.store.models import Restore


def file_of(restore: Restore) -> str:
    """Absolute path of the one file that the restore left, "" when it left none."""
    return str(restore.details.get("result", {}).get("file", ""))


def record_download(restore_id: int, *, actor: Actor, now: datetime) -> str:
    """Absolute path of the file to send; who took it goes into the audit log. Raises NotFound."""
    restore = get_restore(restore_id)
    path = file_of(restore)
    if not path:
        raise NotFound(f"Restore {restore_id} left no file to download.")
    if not _is_ours(path):
        raise NotFound(
            f"The file of restore {restore_id} is not here any more.",
            hint=f"It was written to {path} on the machine of the worker.",
        )
    with writing():
        audit.record(
            actor,
            "restore.downloaded",
            subject_kind="restore",
            subject_id=restore_id,
            subject_name=restore.title,
            details={"file": os.path.basename(path)},
            now=now,
        )
    return path


def _is_ours(path: str) -> bool:
    """Whether a plain file is there, below the restore directory, and no link on the way leads elsewhere."""
    root = restore_root()
    if os.path.realpath(path) != path or os.path.commonpath([root, path]) != root:
        return False
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
