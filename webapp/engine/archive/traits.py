"""What the sentinel wants to know of an archive, noted while a verification reads it anyway."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from webapp.engine.archive.dump_scan import Pick, Row
from webapp.engine.archive.zip_reader import Member

# Of 128 random bytes about 101 differ (deviation 4), of text less than 45, of the heads of most file kinds less than 75.
HEAD_BYTES = 128
NOISE = 86
# Kinds whose content is compressed, and so looks like noise from its first bytes on.
_KNOWN_HEADS = (
    b"%PDF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"PK\x03\x04",
    b"RIFF",
    b"\x1f\x8b",
    b"BZh",
    b"7z\xbc\xaf",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"Rar!",
    b"ID3",
    b"OggS",
    b"fLaC",
    b"wOF",
    b"\xd0\xcf\x11\xe0",
    b"II*\x00",
    b"MM\x00*",
    b"-----BEGIN",
)
MOST_KEPT = 200_000
MOST_ADMINISTRATORS = 500
_LONGEST_LOGIN = 100
_GROUPS = (b"group_system", b"group_erp_manager")


@dataclass(slots=True)
class FileTraits:
    """Sizes of the filestore's members, and how many of them look like noise. Any number of threads may add."""

    packed: int = 0
    plain: int = 0
    sampled: int = 0
    opaque: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, member: Member, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks; the first is looked at on its way."""
        first = next(chunks, b"")
        big_enough = len(first) >= HEAD_BYTES
        opaque = big_enough and looks_like_noise(first[:HEAD_BYTES])
        with self._lock:
            self.packed += member.packed
            self.plain += member.size
            self.sampled += big_enough
            self.opaque += opaque
        return chain((first,), chunks)


def looks_like_noise(head: bytes) -> bool:
    """Whether the first 128 bytes of a file are of no known kind, and as various as chance makes them."""
    return len(set(head)) >= NOISE and not head.startswith(_KNOWN_HEADS) and head[4:8] != b"ftyp"


class AdministratorLedger:
    """Who may administer an Odoo: active users in the groups *Settings* and *Access Rights*.

    They are found in whatever order the dump holds the three tables.
    """

    def __init__(self) -> None:
        self._groups: set[bytes] = set()
        self._members: set[tuple[bytes, bytes]] = set()
        self._users: dict[bytes, bytes] = {}
        self._administrators: set[bytes] = set()
        self._too_many = False

    def picks(self) -> dict[str, Pick]:
        """What to read of which table."""
        return {
            "public.ir_model_data": Pick(("module", "name", "res_id"), self._take_groups, _lines_with_groups),
            "public.res_groups_users_rel": Pick(("gid", "uid"), self._take_members, self._lines_of_members),
            "public.res_users": Pick(("id", "login", "active"), self._take_users),
        }

    def conclude(self, picked: set[str]) -> tuple[str, ...] | None:
        """Their logins, sorted; None when the dump did not hold all three tables as expected, or far too many users."""
        if self._too_many or not self._groups or not set(self.picks()) <= picked:
            return None
        for group, user in self._members:
            if group in self._groups:
                self._administrators.add(user)
        logins = {self._users[user] for user in self._administrators if user in self._users}
        shown = sorted(login.decode("utf-8", "replace")[:_LONGEST_LOGIN] for login in logins)
        return tuple(shown[:MOST_ADMINISTRATORS])

    def _take_groups(self, rows: list[Row]) -> None:
        self._groups.update(number for module, name, number in rows if module == b"base" and name in _GROUPS and number)

    def _lines_of_members(self, text: bytes) -> list[bytes]:
        """Pairs are two numbers in one order or the other; most are of other groups."""
        if not self._groups:
            return text.split(b"\n")
        either = b"|".join(map(re.escape, self._groups))
        return re.findall(rb"(?m)^(?:(?:%b)\t\d+|\d+\t(?:%b))$" % (either, either), text)

    def _take_members(self, rows: list[Row]) -> None:
        # ir_model_data comes first where tables are sorted by name, as pg_dump does; else all pairs are kept, to a limit.
        if self._groups:
            self._administrators.update(user for group, user in rows if group in self._groups and user)
        elif len(self._members) < MOST_KEPT:
            self._members.update((group, user) for group, user in rows if group and user)
        else:
            self._too_many = True

    def _take_users(self, rows: list[Row]) -> None:
        wanted = self._administrators
        for number, login, active in rows:
            if active != b"t" or not number or not login or (wanted and number not in wanted):
                continue
            if len(self._users) >= MOST_KEPT:
                self._too_many = True
                return
            self._users[number] = login


def _lines_with_groups(text: bytes) -> list[bytes]:
    found: dict[int, bytes] = {}
    for name in _GROUPS:
        at = text.find(name)
        while at >= 0:
            start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            end = len(text) if end < 0 else end
            found[start] = text[start:end]
            at = text.find(name, end)
    return list(found.values())
