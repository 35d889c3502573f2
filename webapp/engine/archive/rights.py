"""Owner and mode of what is unpacked, as a person wrote them down."""

from __future__ import annotations

import grp
import os
import pwd
import re
from dataclasses import dataclass

from webapp.core.errors import InvalidInput
from webapp.core.restore_plans import RestoreOptions

_USUAL_FILE_MODE = 0o640
_UNCHANGED = -1  # chown(2): leave the id as it is.
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rights:
    """What new files and folders get. ``user`` and ``group`` are numbers, -1 leaves them to whoever writes."""

    file_mode: int = _USUAL_FILE_MODE
    user: int = _UNCHANGED
    group: int = _UNCHANGED

    @property
    def folder_mode(self) -> int:
        """Who may read files may enter folders: 0750 for 0640."""
        return self.file_mode | (self.file_mode & 0o444) >> 2

    def give_file(self, descriptor: int) -> None:
        """Set owner and mode of an open file. Raises OSError."""
        self._give(descriptor, self.file_mode)

    def give_folder(self, descriptor: int) -> None:
        """Set owner and mode of an open folder. Raises OSError."""
        self._give(descriptor, self.folder_mode)

    def _give(self, descriptor: int, mode: int) -> None:
        if (self.user, self.group) != (_UNCHANGED, _UNCHANGED):
            os.fchown(descriptor, self.user, self.group)
        os.fchmod(descriptor, mode)


def rights_of(options: RestoreOptions) -> Rights:
    """What the options ask for. Raises InvalidInput for a mode or an owner that there is not."""
    user, group = _owner(options.file_owner)
    return Rights(_mode(options.file_mode), user, group)


def _mode(text: str) -> int:
    if not text:
        return _USUAL_FILE_MODE
    if not re.fullmatch(r"0?[0-7]{3}", text) or not int(text, 8) & 0o400:
        raise InvalidInput(
            f"{text[:20]!r} is not a mode that restored files can have.",
            field="file_mode",
            hint="Write three octal digits with which the owner may read, such as 640.",
        )
    return int(text, 8)


def _owner(text: str) -> tuple[int, int]:
    if not text:
        return _UNCHANGED, _UNCHANGED
    user, _, group = text.partition(":")
    try:
        return _user_number(user), _group_number(group)
    except (KeyError, ValueError):
        raise InvalidInput(
            f"{text[:80]!r} is no owner that this machine knows.",
            field="file_owner",
            hint="Write user:group by name, or by number such as 101:101.",
        ) from None


def _user_number(text: str) -> int:
    if not text:
        return _UNCHANGED
    return int(text) if _NUMBER.fullmatch(text) else pwd.getpwnam(text).pw_uid


def _group_number(text: str) -> int:
    if not text:
        return _UNCHANGED
    return int(text) if _NUMBER.fullmatch(text) else grp.getgrnam(text).gr_gid
