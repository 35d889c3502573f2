"""DigestingFile: a new file that counts and digests what it is given, and refuses to fill the disk."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import xxhash

from webapp.core.errors import SourceError, StoreError
from webapp.core.status import ErrorCode
from webapp.core.text import format_size
from webapp.engine.disk import disk_error, require_free
from webapp.engine.report import Reporter

GUARD_EVERY_BYTES = 64 * 1024 * 1024
READ_BYTES = 1024 * 1024


class Digest(Protocol):
    """A digest under way, as hashlib's."""

    def update(self, data: memoryview, /) -> None:
        """The next bytes."""

    def hexdigest(self) -> str:
        """Of all bytes so far, hex."""


class DigestingFile:
    """The Sink of a backup. Creates ``path`` (it must not exist) for our eyes only; ``close`` makes it durable.

    Errors of the disk become StoreError: ``disk_full`` when it is full, over quota or would fall below the reserve.
    A file whose writing or syncing failed once is lost: the kernel may have dropped the pages, so nothing is retried.

    Args:
        reserve_bytes: Free space that must remain on the disk.
        largest_bytes: More than this is refused with SourceError(too_large).
    """

    def __init__(self, path: str, *, reserve_bytes: int = 0, largest_bytes: int | None = None) -> None:
        self._directory = os.path.dirname(path)
        self._reserve_bytes = reserve_bytes
        self._largest_bytes = largest_bytes
        self._digest = hashlib.sha256()
        self._quick_digest = xxhash.xxh3_128()
        self._size = 0
        self._guarded_at = 0
        self._failed = False
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise disk_error(error, "create the archive") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take all of ``data``."""
        self._refuse_after_failure()
        view = memoryview(data).cast("B")
        if self._largest_bytes is not None and self._size + len(view) > self._largest_bytes:
            raise SourceError(
                f"The source sent more than {format_size(self._largest_bytes)}, which is the most an archive may have.",
                hint="Raise the limit if the database is really that large.",
                code=ErrorCode.TOO_LARGE,
                permanent=True,
            )
        self._digest.update(view)
        self._quick_digest.update(view)
        self._write_all(view)
        self._size += len(view)
        if self._size - self._guarded_at >= GUARD_EVERY_BYTES:
            self._guard()
        return len(view)

    def tell(self) -> int:
        """Bytes taken so far."""
        return self._size

    @property
    def sha256(self) -> str:
        """Digest of the bytes taken so far, hex."""
        return self._digest.hexdigest()

    @property
    def xxh128(self) -> str:
        """XXH3 (128 bits) of the same, hex: tells what a disk changed, which no one wanted, at an eighth of the cost."""
        return self._quick_digest.hexdigest()

    def close(self) -> None:
        """Make the file durable and close it. Raises StoreError; the file is then worthless."""
        self._refuse_after_failure()
        if self._descriptor < 0:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._failed = True
            raise disk_error(error, "make the archive durable") from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without any promise; the file is to be deleted."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise StoreError("The archive's file failed before; nothing more is written to it.")

    def _write_all(self, view: memoryview) -> None:
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._failed = True
            raise disk_error(error, "write the archive") from error

    def _guard(self) -> None:
        # On Linux this advice starts writing the range to disk without waiting (mm/fadvise.c), and drops only pages
        # that are clean already: the fsync at the end then has little left to do.
        os.posix_fadvise(self._descriptor, self._guarded_at, self._size - self._guarded_at, os.POSIX_FADV_DONTNEED)
        self._guarded_at = self._size
        require_free(self._directory, 0, self._reserve_bytes)


def quick_digest() -> Digest:
    """For comparing with ``DigestingFile.xxh128``."""
    return xxhash.xxh3_128()


def file_digest(
    descriptor: int,
    reporter: Reporter,
    *,
    from_disk: bool = False,
    new_digest: Callable[[], Digest] = hashlib.sha256,
) -> tuple[int, str]:
    """Size and SHA-256 (or another digest) of an open file, read by position (the descriptor's own is left alone).

    ``from_disk``: what the disk gives back, past the kernel's copy of what was written. That costs less than having the
    kernel forget its copy and fill it again, which remains the way where a file system cannot be read directly.
    Raises StoreError when the disk refuses.
    """
    digest = new_digest()
    size = 0
    # Direct reading wants memory and positions on the disk's boundaries: a mapping has the one, whole blocks the other.
    with mmap.mmap(-1, READ_BYTES) as buffer, memoryview(buffer) as view:
        direct = _open_direct(descriptor) if from_disk else None
        try:
            while count := os.preadv(descriptor if direct is None else direct, [buffer], size):
                digest.update(view[:count])
                size += count
                reporter.check()
                if direct is not None and count < READ_BYTES:
                    os.close(direct)  # the rest, if the file goes on, does not begin on a boundary
                    direct = None
        except OSError as error:
            raise disk_error(error, "read the archive back") from error
        finally:
            if direct is not None:
                os.close(direct)
    return size, digest.hexdigest()


def _open_direct(descriptor: int) -> int | None:
    """The same file once more, for reading past the kernel's copy; None where that cannot be, the copy being dropped."""
    direct = None
    try:
        direct = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        with mmap.mmap(-1, mmap.PAGESIZE) as trial:
            os.preadv(direct, [trial], 0)
    except OSError:
        if direct is not None:
            os.close(direct)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return None
    return direct
