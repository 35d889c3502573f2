"""A filestore on another host: its files come as one tar stream over SSH, asked for by name."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan, SshPlan
from webapp.core.status import ErrorCode
from webapp.core.text import tail_lines
from webapp.engine.archive.zip_writer import MemberResult, MemberState, ZipWriter
from webapp.engine.process import ProcessFailed
from webapp.engine.report import Reporter
from webapp.engine.sources.filestore import (
    MEMBER_PREFIX,
    SAMPLE_BYTES,
    Tally,
    candidates,
    sha1_of,
    unreadable_directory,
)
from webapp.engine.sources.tar_stream import TarMember, read_members
from webapp.engine.ssh import run_remote, stream_remote
from webapp.engine.tail import TAIL_BYTES

WHOLE_BYTES = 4 * 1024 * 1024
_NAMES_AT_ONCE = 500
# Prints the number of the first directory that will do; a directory given as "shared" must hold folders of two hex digits.
_LOCATE = """
n=0
for d do
  n=$((n+1)); shared=${d%%:*}; d=${d#*:}
  [ -d "$d" ] || continue
  if [ "$shared" = shared ]; then
    found=; for e in "$d"/[0-9a-f][0-9a-f] "$d"/[0-9a-f][0-9a-f][0-9a-f]; do [ -d "$e" ] && found=1 && break; done
    [ -n "$found" ] || continue
  fi
  [ -r "$d" ] && [ -x "$d" ] || { echo "denied $n"; exit 0; }
  echo "found $n"; exit 0
done
echo none
"""
# What GNU tar says about single files; anything else it complains of fails the run.
_ABOUT_ONE_FILE = re.compile(
    r"tar: (?P<name>[0-9a-f]{2,3}/[0-9a-f]{40}): (?P<what>.*)|tar: Exiting with failure status due to previous errors"
)
_GONE = ("No such file or directory", "File removed before we read it")


@dataclass(frozen=True, slots=True)
class SshFilestore:
    """See Filestore. The host needs a POSIX shell and GNU tar."""

    plan: FilestorePlan
    ssh: SshPlan
    database: str

    def locate(self, reporter: Reporter) -> str:
        """See Filestore."""
        tried = candidates(self.plan, self.database)
        words = [f"{'shared' if one.shared else 'own'}:{one.path}" for one in tried]
        finished = run_remote(self.ssh, ["sh", "-c", _LOCATE, "sh", *words], reporter=reporter)
        answer = finished.stdout.decode("ascii", "replace").split()
        where = f"on {self.ssh.host}"
        if finished.returncode != 0 or not answer:
            raise unreadable_directory(tried[0].path, f"looking for it {where} failed: {finished.stderr_tail[-200:]}")
        if answer[0] == "none":
            raise unreadable_directory(tried[0].path, f"there is no such directory {where}")
        path = tried[int(answer[1]) - 1].path
        if answer[0] == "denied":
            raise unreadable_directory(path, f"user {self.ssh.user!r} may not read it {where}")
        return path

    def copy(self, names: Iterator[str], writer: ZipWriter, tally: Tally, reporter: Reporter) -> None:
        """See Filestore."""
        directory = self.locate(reporter)
        words = ["env", "LC_ALL=C", "tar", "--create", "--file=-", "--format=gnu", f"--directory={directory}"]
        words += ["--no-recursion", "--hard-dereference", "--numeric-owner", "--blocking-factor=512"]
        words += ["--null", "--files-from=-"]
        wanted = _Wanted(names)
        whole = False
        try:
            with stream_remote(self.ssh, words, reporter=reporter, stdin=wanted.lines()) as chunks:
                for member in read_members(chunks):
                    for name in wanted.until(member.name):
                        tally.lose(name)
                    _pack(member, writer, tally)
                whole = True
                for _ in chunks:  # To the very end, so that the exit code is seen.
                    pass
        except ProcessFailed as failed:
            _judge(failed, tally, whole=whole)
        for name in wanted.rest():
            tally.lose(name)

    def read(self, name: str, reporter: Reporter) -> bytes | None:
        """See Filestore."""
        words = ["head", "-c", str(SAMPLE_BYTES), "--", f"{self.locate(reporter)}/{name}"]
        finished = run_remote(self.ssh, words, reporter=reporter, max_output=SAMPLE_BYTES)
        return finished.stdout if finished.returncode == 0 else None

    def free_bytes(self, reporter: Reporter) -> int | None:
        """See Filestore."""
        directory = self.locate(reporter)
        finished = run_remote(self.ssh, ["env", "LC_ALL=C", "df", "-Pk", "--", directory], reporter=reporter)
        fields = finished.stdout.decode("utf-8", "replace").splitlines()[-1:]
        words = fields[0].split() if fields else []
        return int(words[3]) * 1024 if len(words) >= 6 and words[3].isdigit() else None


class _Wanted:
    """The names sent and not yet seen. tar answers in the order asked, so a name passed over is a file not there.

    It holds no more than what is on its way: tar reads names only as fast as it sends files.
    """

    def __init__(self, names: Iterator[str]) -> None:
        self._names = names
        self._sent: deque[str] = deque()
        self._lock = threading.Lock()

    def lines(self) -> Iterator[bytes]:
        """What tar reads, on the feeding thread."""
        batch: list[str] = []
        for name in self._names:
            batch.append(name)
            if len(batch) == _NAMES_AT_ONCE:
                yield self._note(batch)
                batch = []
        if batch:
            yield self._note(batch)

    def until(self, name: str) -> Iterator[str]:
        """Names passed over before ``name``, which is taken off as well."""
        while True:
            with self._lock:
                if not self._sent:
                    raise SourceError(
                        f"The host sent a file that was not asked for: {name[:80]!r}.",
                        code=ErrorCode.FILESTORE_UNREADABLE,
                    )
                first = self._sent.popleft()
            if first == name:
                return
            yield first

    def rest(self) -> Iterator[str]:
        """Names that were never answered."""
        while self._sent:
            yield self._sent.popleft()

    def _note(self, batch: list[str]) -> bytes:
        with self._lock:
            self._sent.extend(batch)
        return "".join(f"{name}\0" for name in batch).encode()


def _pack(member: TarMember, writer: ZipWriter, tally: Tally) -> None:
    expected = sha1_of(member.name)
    if not member.is_file:
        tally.lose(member.name, unreadable="not a regular file")
        return
    if member.size <= WHOLE_BYTES:
        writer.add_bytes(MEMBER_PREFIX + member.name, b"".join(member.data), sha1=expected)
        return
    digest = hashlib.sha1(usedforsecurity=False)

    def digested() -> Iterator[bytes]:
        for piece in member.data:
            digest.update(piece)
            yield piece

    written = writer.add_stream(MEMBER_PREFIX + member.name, digested())
    found = digest.hexdigest()
    state = MemberState.WRITTEN if found == expected else MemberState.MISMATCH
    detail = "" if found == expected else f"its SHA-1 is {found}"
    tally.take(MemberResult(written.name, written.size, written.packed, found, state, detail))


def _judge(failed: ProcessFailed, tally: Tally, *, whole: bool) -> None:
    """GNU tar ends with 1 or 2 when single files gave trouble; those are counted when the archive is whole."""
    lines = failed.stderr_tail.splitlines()
    if len(failed.stderr_tail) >= TAIL_BYTES // 2:
        lines = lines[1:]  # The first may be cut.
    strange = [line for line in lines if not _ABOUT_ONE_FILE.fullmatch(line)]
    if failed.returncode not in (1, 2) or strange or not whole:
        raise SourceError(
            f"Reading the filestore failed: {failed.message} {tail_lines(chr(10).join(strange), 3, 300)}".strip(),
            hint="The host needs GNU tar, and its user the right to read the filestore.",
            code=ErrorCode.FILESTORE_UNREADABLE,
        ) from failed
    for line in lines:
        match = _ABOUT_ONE_FILE.fullmatch(line)
        if match and match["what"] and not any(word in match["what"] for word in _GONE):
            tally.example = tally.example or f"{match['name']}: {match['what']}"
