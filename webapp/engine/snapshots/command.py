"""How rsync is called to pull a host's trees: its words, its environment, and which rsync of this machine it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.core.errors import SourceError
from webapp.core.path_text import path_bytes
from webapp.core.rsync_options import check_host_path, check_options, check_pattern
from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.engine.process import clean_environment, find_executable, run

# From 3.2.4 on rsync escapes what it hands to the host's shell by itself; an older one would let a name be a command.
OLDEST_RSYNC = (3, 2, 4)
WHOLE_HOST = ("/",)
KINDS = ("xxh128", "md5")
# Marks the lines of our own in rsync's output: which change, its digest, its size, its name.
LINE_MARK = "HF "
SECLUDED = "--secluded-args"
QUESTION_SECONDS = 60
_VERSION = re.compile(r"version v?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class LocalRsync:
    """The rsync of this machine."""

    path: str
    version: str


@dataclass(frozen=True, slots=True)
class Pull:
    """One call of rsync.

    ``secluded``: names travel inside the protocol. ``reread``: sizes and times are not trusted. ``in_place``: files are written
    under their own names, which spares two changes of a directory for each; only for a tree that is empty and has no base,
    where no file written to can be another's.
    """

    plan: HostPlan
    data: str
    base_tree: str | None = None
    secluded: bool = True
    reread: bool = False
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A call that brings nothing: of which kind the ``paths`` are; what lies in those that end with a slash."""

    plan: HostPlan
    paths: tuple[str, ...]
    secluded: bool = True


def find_rsync() -> LocalRsync:
    """The rsync of this machine. Raises SourceError(client_missing, client_too_old)."""
    path = find_executable("rsync", ["/usr/bin"])
    if path is None:
        raise SourceError(
            "No rsync program was found.",
            hint="Install rsync on the worker.",
            code=ErrorCode.CLIENT_MISSING,
            permanent=True,
        )
    said = run([path, "--version"], env=clean_environment(), timeout_seconds=30).stdout.decode("ascii", "replace")
    found = _VERSION.search(said)
    version = tuple(int(number or 0) for number in found.groups()) if found else (0, 0, 0)
    text = ".".join(map(str, version))
    if version < OLDEST_RSYNC:
        oldest = ".".join(map(str, OLDEST_RSYNC))
        raise SourceError(
            f"The rsync of this machine is {text if found else 'of an unknown version'}; it must be {oldest} or newer.",
            hint="Install a newer rsync on the worker.",
            code=ErrorCode.CLIENT_TOO_OLD,
            permanent=True,
        )
    return LocalRsync(path, text)


def environment(digest: str = "") -> dict[str, str]:
    """What rsync finds around it: nothing of ours, and the kinds of digest that it may agree on with the host."""
    kinds = KINDS[KINDS.index(digest) :] if digest in KINDS else KINDS
    return clean_environment({"RSYNC_CHECKSUM_LIST": " ".join(kinds)})


def pulled_paths(plan: HostPlan) -> tuple[str, ...]:
    """The plan's paths, checked, each once; ("/",) when all of the host is among them. Raises InvalidInput."""
    paths = tuple(dict.fromkeys(check_host_path(path) for path in plan.paths))
    return WHOLE_HOST if "/" in paths else paths


def stdin_of(plan: HostPlan) -> list[bytes] | None:
    """What rsync reads from its stdin: the paths, which so are never words of any command line. None for the whole host."""
    paths = pulled_paths(plan)
    if paths == WHOLE_HOST:
        return None
    return [b"".join(path_bytes(path) + b"\0" for path in paths)]


def pull_words(pull: Pull) -> list[str]:
    """The options of rsync, but for the way to the host. Raises InvalidInput for a plan with what may not be said to rsync."""
    plan = pull.plan
    words = [
        *("--archive", "--hard-links", "--numeric-ids", "--fake-super"),
        *("--delete", "--delete-excluded", "--ignore-errors", "--partial"),
        # Else what changed twice within a second, its size the same, is taken for unchanged.
        "--modify-window=-1",
        *(f"--timeout={max(int(plan.timeout_seconds), 1)}", "--outbuf=B", f"--out-format={LINE_MARK}%i %C %l %n"),
        *("--info=stats2,progress2", "--debug=nstr1,proto1"),
    ]
    if pull.base_tree is not None:
        words.append(f"--link-dest={pull.base_tree}")
    if pulled_paths(plan) != WHOLE_HOST:
        words += ["--recursive", "--relative", "--from0", "--files-from=-"]
    words += _flags(pull)
    words += [f"--filter=+ {check_pattern(pattern)}" for pattern in plan.includes]
    words += [f"--filter=- {check_pattern(pattern)}" for pattern in plan.excludes]
    return [*words, *check_options(plan.options)]


def question_words(question: Question) -> list[str]:
    """Rsync's options for a question: kinds and names, one level deep, and nothing that changes anything."""
    words = [
        "--dry-run",
        "--dirs",
        "--links",
        "--devices",
        "--specials",
        "--outbuf=L",
        "--out-format=%i %n",
        "--debug=proto1",
    ]
    words.append(f"--timeout={min(max(int(question.plan.timeout_seconds), 1), QUESTION_SECONDS)}")
    if question.paths != WHOLE_HOST:
        words += ["--relative", "--no-implied-dirs", "--from0", "--files-from=-"]
    return [*words, SECLUDED] if question.secluded else words


def _flags(pull: Pull) -> list[str]:
    chosen = {
        SECLUDED: pull.secluded,
        "--checksum": pull.reread,
        # An rsync before 3.1.3 on the host takes either of the two.
        "--inplace": pull.in_place and "--sparse" not in pull.plan.options,
        "--one-file-system": pull.plan.one_file_system,
        f"--bwlimit={int(pull.plan.bandwidth_kib)}": pull.plan.bandwidth_kib > 0,
    }
    return [word for word, wanted in chosen.items() if wanted]


def shell_option(words: Sequence[str]) -> str:
    """``--rsh`` with these words; rsync takes them apart itself, at spaces that stand in no quotes (rsync(1))."""
    return "--rsh=" + " ".join("'" + word.replace("'", "''") + "'" if _needs_quotes(word) else word for word in words)


def _needs_quotes(word: str) -> bool:
    return not word or any(character in " '\"" for character in word)
