"""A restored filestore on another host: it travels as one tar stream; moves are made by one small script there."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from webapp.core.errors import SourceError
from webapp.core.plans import SshPlan
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import ErrorCode
from webapp.core.text import tail_lines
from webapp.engine.archive.rights import Rights, rights_of
from webapp.engine.archive.zip_reader import Member, ZipArchive, open_zip
from webapp.engine.process import ProcessFailed
from webapp.engine.report import Reporter
from webapp.engine.restore.places import Paths, in_the_way
from webapp.engine.ssh import run_remote, stream_remote

_STORED = re.compile(r"filestore/(?P<folder>[0-9a-f]{2,3})/[0-9a-f]{40}")
_PREFIX = "filestore/"
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
_MOVE_SECONDS = 120.0
_SLOW_SECONDS = 3600.0
_IN_THE_WAY = 17
# Directories are told apart by inode, "ls -di" being the one POSIX way to ask for it.
_INODE = """
[ -e "$1" ] || [ -L "$1" ] || { echo none; exit 0; }
ls -di -- "$1"
"""
_IS_FILESTORE = """
for e in "$1"/[0-9a-f][0-9a-f] "$1"/[0-9a-f][0-9a-f][0-9a-f]; do [ -d "$e" ] && { echo yes; exit 0; }; done
echo no
"""
_UNPACK = """
set -e
[ ! -e "$1" ] || exit 17
umask 077
mkdir -p -- "$(dirname -- "$1")"
mkdir -- "$1"
tar -x -p -o -f - -C "$1"
[ -z "$2" ] || chown -R -- "$2" "$1"
chmod -- "$3" "$1"
sync
"""
_EXCHANGE = """
set -e
inode() { ls -di -- "$1" 2>/dev/null | { read -r n rest; echo "$n"; }; }
[ "$(inode "$1")" != "$4" ] || exit 0
if [ -e "$1" ]; then
  [ -n "$3" ] && [ ! -e "$3" ] || exit 17
  mv -- "$1" "$3"
fi
mv -- "$2" "$1"
sync
"""
_DIGESTS = 'cd -- "$1" && find . -type f -exec sha1sum -- {} +'
_NEAREST = 'p=$1; while [ "$p" != / ] && [ ! -e "$p" ]; do p=$(dirname -- "$p"); done; '
_FREE = _NEAREST + 'LC_ALL=C df -Pk -- "$p"'
_WRITABLE = (
    _NEAREST + '[ -d "$p" ] || { echo "$p is not a directory"; exit 0; }; [ -w "$p" ] || echo "$p is not writable"'
)


@dataclass(frozen=True, slots=True)
class SshPlace:
    """Directories of another host. See Place. The host needs a POSIX shell, tar, find and sha1sum."""

    ssh: SshPlan

    def inode(self, path: str, reporter: Reporter) -> int | None:
        """See Place."""
        words = self._ask(_INODE, [path], reporter).split()
        if words[:1] == ["none"]:
            return None
        if not words or not words[0].isdigit():
            raise self._refused(path, "its host gave no answer that could be understood")
        return int(words[0])

    def is_filestore(self, path: str, reporter: Reporter) -> bool:
        """See Place."""
        return self._ask(_IS_FILESTORE, [path], reporter).strip() == "yes"

    def unpack(self, archive_path: str, path: str, options: RestoreOptions, reporter: Reporter) -> None:
        """See Place."""
        if options.file_owner and not _OWNER.fullmatch(options.file_owner):
            raise self._refused(path, f"{options.file_owner[:60]!r} is not an owner's name")
        rights = rights_of(RestoreOptions(file_mode=options.file_mode))  # The owner's name is one of that host's.
        words = ["sh", "-c", _UNPACK, "sh", path, options.file_owner, f"{rights.folder_mode:o}"]
        with open_zip(archive_path) as archive:
            tape = _tape(archive, rights, reporter)
            try:
                with stream_remote(
                    self.ssh, words, reporter=reporter, stdin=tape, idle_seconds=_SLOW_SECONDS * 24
                ) as chunks:
                    for _ in chunks:
                        pass
            except ProcessFailed as failed:
                if failed.returncode == _IN_THE_WAY:
                    raise in_the_way(path) from failed
                raise self._refused(path, failed.stderr_tail or failed.message) from failed

    def digests(self, path: str, reporter: Reporter) -> Iterator[tuple[str, str]]:
        """See Place."""
        words = ["sh", "-c", _DIGESTS, "sh", path]
        try:
            with stream_remote(self.ssh, words, reporter=reporter, idle_seconds=_SLOW_SECONDS) as chunks:
                for line in _lines(chunks):
                    digest, _, name = line.partition("  ")
                    yield name.removeprefix("./"), digest
        except ProcessFailed as failed:
            raise self._refused(path, failed.stderr_tail or failed.message) from failed

    def exchange(self, paths: Paths, new_inode: int, reporter: Reporter) -> None:
        """See Place."""
        words = [paths.final, paths.temporary, paths.kept, str(new_inode)]
        self._ask(_EXCHANGE, words, reporter, seconds=_MOVE_SECONDS)

    def remove(self, path: str, reporter: Reporter) -> None:
        """See Place."""
        self._ask('rm -rf -- "$1"', [path], reporter, seconds=_SLOW_SECONDS)

    def free_bytes(self, path: str, reporter: Reporter) -> int | None:
        """See Place."""
        lines = self._ask(_FREE, [path], reporter).splitlines()
        words = lines[-1].split() if lines else []
        return int(words[3]) * 1024 if len(words) >= 6 and words[3].isdigit() else None

    def why_not_writable(self, path: str, reporter: Reporter) -> str:
        """See Place."""
        return self._ask(_WRITABLE, [path], reporter).strip()

    def _ask(self, script: str, words: Sequence[str], reporter: Reporter, seconds: float = 60.0) -> str:
        finished = run_remote(self.ssh, ["sh", "-c", script, "sh", *words], reporter=reporter, timeout_seconds=seconds)
        if finished.returncode == _IN_THE_WAY:
            raise in_the_way(words[0])
        if finished.returncode != 0:
            raise self._refused(words[0], finished.stderr_tail)
        return finished.stdout.decode("utf-8", "replace")

    def _refused(self, path: str, why: str) -> SourceError:
        return SourceError(
            f"The filestore at {path} on {self.ssh.host} could not be put in place: {tail_lines(why, 2, 300)}",
            hint=f"Check the path, free space there, and that user {self.ssh.user!r} may write there.",
            code=ErrorCode.RESTORE_FAILED,
        )


def _tape(archive: ZipArchive, rights: Rights, reporter: Reporter) -> Iterator[bytes]:
    """The filestore's files as a tar: each folder once, then its files; only names that Odoo gives."""
    folders: set[str] = set()
    done = 0
    for member in archive.members():
        match = _STORED.fullmatch(member.name)
        if match is None:
            continue
        reporter.check()
        if match["folder"] not in folders:
            folders.add(match["folder"])
            yield _header(match["folder"], 0, rights.folder_mode, tarfile.DIRTYPE)
        yield _header(member.name.removeprefix(_PREFIX), member.size, rights.file_mode, tarfile.REGTYPE)
        yield from _padded(archive, member)
        done += member.size
        reporter.progress(done)
    yield b"\0" * tarfile.BLOCKSIZE * 2


def _header(name: str, size: int, mode: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size, mode, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _padded(archive: ZipArchive, member: Member) -> Iterator[bytes]:
    yield from archive.stream(member)
    yield b"\0" * (-member.size % tarfile.BLOCKSIZE)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")
