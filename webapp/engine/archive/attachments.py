"""AttachmentLedger: the attachment files that a dump refers to, against those that an archive holds.

A million attachments take about 16 MB: of each name only the first 64 bits of its SHA-1 are kept.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from webapp.engine.archive.dump_scan import Row
from webapp.engine.archive.key_set import KeySet, member_key, shown_key

PREFIX = b"filestore/"
MOST_SHOWN = 1000
_REGULAR = re.compile(rb"([0-9a-f]{2})/(\1[0-9a-f]{38})")
# Every name that promises a content: before version 8 Odoo's folders had three digits.
_DIGEST = re.compile(rb"[0-9a-f]{2,3}/[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class AttachmentFindings:
    """What the comparison found; shown names are cut short, and at most 1,000.

    Attributes:
        expected: Distinct files that the dump refers to; ``irregular`` of them have names that Odoo does not give.
        missing: How many of them are not in the archive; ``missing_keys`` holds the first of their keys.
        mismatched: How many of them have content that differs from their name.
        unreferenced_mismatched: The same among files that no row refers to.
        elsewhere: Rows whose file is kept outside the filestore ("s3://…").
        odd_checksums: Rows whose checksum differs from the name of their file.
    """

    expected: int
    irregular: int
    missing: int
    missing_keys: tuple[int, ...]
    missing_shown: tuple[str, ...]
    mismatched: int
    mismatched_shown: tuple[str, ...]
    unreferenced_mismatched: int
    elsewhere: int
    odd_checksums: int


@dataclass(slots=True)
class AttachmentLedger:
    """Filled by the thread that scans the dump (``take_rows``) and those that unpack files (``take_file``)."""

    elsewhere: int = 0
    odd_checksums: int = 0
    irregular: int = 0
    _expected: KeySet = field(default_factory=KeySet)
    _irregular: dict[int, str] = field(default_factory=dict)
    _mismatched: KeySet = field(default_factory=KeySet)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_rows(self, rows: list[Row]) -> None:
        """Rows of ir_attachment: (store_fname, checksum)."""
        for name, checksum in rows:
            if not name:
                continue
            match = _REGULAR.fullmatch(name)
            if match:
                self._expected.add(int(match[2][:16], 16) or 1)
                if checksum and checksum != match[2]:
                    self.odd_checksums += 1
            elif b"://" in name:
                self.elsewhere += 1
            else:
                self._take_irregular(name)

    def take_file(self, raw_name: bytes, chunks: Iterable[bytes]) -> None:
        """Digest one member of the filestore; names that promise no content are left alone."""
        if not _DIGEST.fullmatch(raw_name, len(PREFIX)):
            return
        digest = hashlib.sha1(usedforsecurity=False)
        for chunk in chunks:
            digest.update(chunk)
        if digest.hexdigest().encode() != raw_name[-40:]:
            with self._lock:
                self._mismatched.add(member_key(raw_name))

    def compare(self, held: KeySet) -> AttachmentFindings:
        """The dump's files against the names in the archive (``ZipArchive.name_keys``)."""
        missing, keys = _first(key for key in self._expected if key not in held)
        mismatched, mismatched_keys = _first(key for key in self._mismatched if key in self._expected)
        return AttachmentFindings(
            expected=len(self._expected),
            irregular=self.irregular,
            missing=missing,
            missing_keys=keys,
            missing_shown=tuple(self._irregular.get(key) or shown_key(key) for key in keys),
            mismatched=mismatched,
            mismatched_shown=tuple(shown_key(key) for key in mismatched_keys),
            unreferenced_mismatched=len(self._mismatched) - mismatched,
            elsewhere=self.elsewhere,
            odd_checksums=self.odd_checksums,
        )

    def _take_irregular(self, name: bytes) -> None:
        key = member_key(PREFIX + name)
        self.irregular += self._expected.add(key)
        if len(self._irregular) < MOST_SHOWN:
            self._irregular[key] = name[:200].decode("utf-8", "replace")


def attachment_key(store_name: str) -> int:
    """The key of a name such as "ab/abcd…"."""
    return member_key(PREFIX + store_name.encode("utf-8", "surrogatepass"))


def _first(keys: Iterator[int]) -> tuple[int, tuple[int, ...]]:
    count = 0
    kept: list[int] = []
    for key in keys:
        count += 1
        if len(kept) < MOST_SHOWN:
            kept.append(key)
    return count, tuple(kept)
