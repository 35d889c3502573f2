r"""DumpFilter: a plain dump on its way to psql, statement by statement; what psql would take for a command never passes.

Outside the data of COPY blocks a backslash means a command of psql, which may run programs. ``\restrict`` and
``\unrestrict`` lines are taken out, any other is a reason to refuse the whole dump. So that nothing can be slipped past
us, statements are cut exactly where psql cuts them (psqlscan.l: quotes, dollar quotes, nested comments, parentheses,
BEGIN ATOMIC bodies); comments are not passed on; and what psql's versions read differently (``1e'…'``, ``1$$``, NUL) is
refused, as pg_dump never writes it. Rows pass in bulk, untouched. Memory stays bounded for statements of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from webapp.core.errors import ArchiveError
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls
from webapp.engine.archive.sql_statements import CopyHeader, parse_statement

Judge = Callable[[bytes], bool]
"""Given a statement without its semicolon (of a very long one the beginning): whether it passes. May raise ArchiveError."""

HEAD_BYTES = 256 * 1024
# What is looked back at, to tell an E'…' from a name in front of a quote: the longest name fits.
_CONTEXT_BYTES = 130
_LONGEST_WORD = 64 * 1024
# As many bytes are waited for behind a token that may go on: a dollar tag, a restrict line.
_LOOK_AHEAD = 160

_TOKEN = re.compile(
    rb"(?P<end>;)|(?P<open>\()|(?P<close>\))|(?P<line>--)|(?P<block>/\*)|(?P<quote>['\"])|(?P<meta>\\)|(?P<dollar>\$)"
    rb"|(?P<colon>:+)|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)|(?P<number>[0-9][A-Za-z0-9_$.\x80-\xff]*)"
)
# Once a statement is known not to make a routine, its words do not matter any more.
_MARK = re.compile(
    rb"(?P<end>;)|(?P<open>\()|(?P<close>\))|(?P<line>--)|(?P<block>/\*)|(?P<quote>['\"])|(?P<meta>\\)|(?P<dollar>\$)"
    rb"|(?P<colon>:+)"
)
_NAME_BYTE = re.compile(rb"[A-Za-z0-9_$\x80-\xff]")
_RUN = re.compile(rb"[A-Za-z0-9_$.\x80-\xff]*\Z")
_PLAIN_NUMBER = re.compile(rb"[0-9][0-9.]*(?:[eE][0-9]*)?")
_DOLLAR_TAG = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_PARAMETER = re.compile(rb"\$[0-9]+(?![A-Za-z0-9_$\x80-\xff])")
_END_OF_DATA = re.compile(rb"\n\\\.")
_IN_ESCAPED = re.compile(rb"['\\]")
_IN_BLOCK = re.compile(rb"/\*|\*/")
_RESTRICT = re.compile(rb"\\(?:un)?restrict(?: [A-Za-z0-9]{1,128})?\r?\n")
_ROUTINE = (b"cf", b"cp", b"corf", b"corp")
_ROUTINE_WORDS = (b"create", b"function", b"procedure", b"or", b"replace")
_COUNTED = (*_ROUTINE_WORDS, b"begin", b"case", b"end")


class DumpFilter:
    """Give it the dump's bytes in pieces of any size; it gives those that psql may have."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._buffer = b""
        self._at = 0
        self._step: Callable[[bytes, bool], bool] = self._top
        self._out: list[bytes] = []
        self._statement = bytearray()
        self._passes: bool | None = None  # of a statement too long to be held: what was decided by its head
        self._tag = b""
        self._comment_depth = 0
        self._after_escaped = False
        self._table = ""
        self._begin_statement()

    def filtered(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes for psql. Raises ArchiveError for what must not be loaded, and for an end in the middle."""
        for chunk in chunks:
            if b"\0" in chunk:
                raise refused("it holds a NUL byte, which no plain dump does")
            yield from self._feed(chunk, final=False)
        yield from self._feed(b"", final=True)
        if self._step != self._top or self._statement.strip() or self._passes is not None:
            raise ArchiveError("The dump ends in the middle of a statement.", code=ErrorCode.TRUNCATED)

    def _feed(self, chunk: bytes, *, final: bool) -> Iterator[bytes]:
        keep = max(0, self._at - _CONTEXT_BYTES)
        buffer = self._buffer[keep:] + chunk
        self._at -= keep
        while self._step(buffer, final):
            pass
        self._buffer = buffer
        if self._out:
            yield b"".join(self._out)
            self._out.clear()

    def _begin_statement(self) -> None:
        self._statement.clear()
        self._passes = None
        self._parentheses = 0
        self._begins = 0
        self._words = 0
        self._letters = b""
        self._pattern = _TOKEN

    def _top(self, buffer: bytes, final: bool) -> bool:
        """Outside literals and comments, up to the next token; False when more bytes are needed."""
        match = self._pattern.search(buffer, self._at)
        if match is None:
            held = 0 if final or buffer[-1:] not in (b"-", b"/") else 1  # Half of the beginning of a comment?
            self._pass_by(buffer, max(self._at, len(buffer) - held))
            return False
        if not final and match.end() > len(buffer) - _LOOK_AHEAD and not self._is_settled(match, buffer):
            self._pass_by(buffer, match.start())
            return False
        self._pass_by(buffer, match.start())
        self._at = match.end()
        getattr(self, f"_take_{match.lastgroup}")(match[0], buffer)
        if match.lastgroup not in ("line", "block", "quote"):
            self._after_escaped = False
        return True

    def _pass_by(self, buffer: bytes, stop: int) -> None:
        """What stands between two tokens: white space, operators, commas."""
        text = buffer[self._at : stop]
        if text.strip():
            self._after_escaped = False
        self._keep(text)
        self._at = stop

    @staticmethod
    def _is_settled(match: re.Match[bytes], buffer: bytes) -> bool:
        """Whether what follows cannot change what this token is."""
        if match.end() - match.start() > _LONGEST_WORD:
            raise refused("it holds a word longer than any name")
        if match.lastgroup in ("word", "number", "colon"):
            return match.end() < len(buffer)
        return match.lastgroup in ("open", "close", "line", "block", "quote", "end")

    def _take_end(self, token: bytes, buffer: bytes) -> None:
        if self._parentheses or self._begins:
            self._keep(token)
            return
        text = bytes(self._statement).strip()
        if self._passes is None and text[:4].upper() == b"COPY":
            self._begin_copy(text)
            return
        passes = self._passes if self._passes is not None else not text or self._judge(text)
        if passes:
            self._out += (bytes(self._statement), b";") if self._passes is None else (b";",)
        self._begin_statement()

    def _take_open(self, token: bytes, buffer: bytes) -> None:
        self._parentheses += 1
        self._keep(token)

    def _take_close(self, token: bytes, buffer: bytes) -> None:
        self._parentheses = max(0, self._parentheses - 1)
        self._keep(token)

    def _take_line(self, token: bytes, buffer: bytes) -> None:
        self._step = self._line_comment

    def _take_block(self, token: bytes, buffer: bytes) -> None:
        self._comment_depth = 1
        self._step = self._block_comment

    def _take_quote(self, token: bytes, buffer: bytes) -> None:
        self._keep(token)
        self._tag = token
        self._step = self._literal
        if token != b"'":
            return
        if self._after_escaped:
            raise refused("it goes on with a string in a way that pg_dump does not write")
        quote = self._at - 1
        run = _RUN.search(buffer, max(0, quote - _CONTEXT_BYTES), quote)
        before = run[0] if run else b""
        # psql takes :e for a variable of its own, and then the string is an ordinary one.
        is_variable = buffer[quote - len(before) - 1 : quote - len(before)] == b":"
        if before in (b"e", b"E") and not is_variable:
            self._step = self._escaped_string
        elif is_variable and before[-1:] in (b"e", b"E"):
            raise refused("it holds a string behind a variable of psql")
        elif before[-1:] in (b"e", b"E") and (before[:1] in b"0123456789$." or b"." in before or len(before) > 100):
            raise refused("it holds a string that psql's versions read in different ways")

    def _take_dollar(self, token: bytes, buffer: bytes) -> None:
        start = self._at - 1
        if start and _NAME_BYTE.match(buffer, start - 1):
            raise refused("it holds a dollar sign in a name, which pg_dump puts into quotes")
        tag = _DOLLAR_TAG.match(buffer, start)
        if tag is not None:
            self._keep(tag[0])
            self._tag = tag[0]
            self._at = tag.end()
            self._step = self._literal
            return
        parameter = _PARAMETER.match(buffer, start)
        if parameter is None:
            raise refused("it holds a dollar sign where pg_dump writes none")
        self._keep(parameter[0])
        self._at = parameter.end()

    def _take_colon(self, token: bytes, buffer: bytes) -> None:
        """A cast, or the middle of a slice; psql's own variables have names in capitals, which pg_dump quotes."""
        if len(token) % 2 and buffer[self._at : self._at + 1].isupper():
            raise refused("it holds a variable of psql")
        self._keep(token)

    def _take_number(self, token: bytes, buffer: bytes) -> None:
        if not _PLAIN_NUMBER.fullmatch(token):
            raise refused(f"it holds {strip_controls(token[:20].decode('utf-8', 'replace'))!r}, which is no number")
        self._keep(token)

    def _take_word(self, token: bytes, buffer: bytes) -> None:
        self._keep(token)
        word = token.lower()
        before = self._at - len(token) - 1
        if word in _COUNTED and buffer[max(0, before) : before + 1] == b":":
            raise refused("it holds a variable of psql")
        self._note_word(word)

    def _note_word(self, word: bytes) -> None:
        """What psql does with identifiers, to know that it is inside BEGIN ATOMIC … END."""
        if self._words < 4:
            self._letters += word[:1] if word in _ROUTINE_WORDS else b"?"
        self._words += 1
        if not self._letters.startswith(_ROUTINE):
            if not any(form.startswith(self._letters) for form in _ROUTINE):
                self._pattern = _MARK
            return
        if self._parentheses:
            return
        if word == b"begin" or (word == b"case" and self._begins):
            self._begins += 1
        elif word == b"end":
            self._begins = max(0, self._begins - 1)

    def _take_meta(self, token: bytes, buffer: bytes) -> None:
        start = self._at - 1
        line = _RESTRICT.match(buffer, start)
        at_line_start = start == 0 or buffer[start - 1 : start] == b"\n"
        if line is None or not at_line_start or self._statement.strip() or self._passes is not None:
            shown = strip_controls(buffer[start : start + 60].split(b"\n")[0].decode("utf-8", "replace"))
            raise refused(f"it holds a command for psql: {shown}")
        self._at = line.end()

    def _line_comment(self, buffer: bytes, final: bool) -> bool:
        end = buffer.find(b"\n", self._at)
        self._at = len(buffer) if end < 0 else end
        if end >= 0 or final:
            self._step = self._top
            return end >= 0
        return False

    def _block_comment(self, buffer: bytes, final: bool) -> bool:
        while match := _IN_BLOCK.search(buffer, self._at):
            self._at = match.end()
            self._comment_depth += 1 if match[0] == b"/*" else -1
            if self._comment_depth == 0:
                self._keep(b" ")
                self._step = self._top
                return True
        self._at = max(self._at, len(buffer) - 1)
        return False

    def _literal(self, buffer: bytes, final: bool) -> bool:
        """In '…', "…" or $tag$…$tag$. A doubled quote ends one literal and begins the next, which comes to the same."""
        end = buffer.find(self._tag, self._at)
        stop = end + len(self._tag) if end >= 0 else max(self._at, len(buffer) - len(self._tag) + 1)
        self._keep(buffer[self._at : stop])
        self._at = stop
        if end >= 0:
            self._step = self._top
        return end >= 0

    def _escaped_string(self, buffer: bytes, final: bool) -> bool:
        start = self._at
        place = start
        while match := _IN_ESCAPED.search(buffer, place):
            following = buffer[match.end() : match.end() + 1]
            if not following:
                self._keep(buffer[start : match.start()])
                self._at = match.start()
                return False
            if match[0] == b"\\" or following == b"'":
                place = match.end() + 1
                continue
            self._keep(buffer[start : match.end()])
            self._at = match.end()
            self._after_escaped = True
            self._step = self._top
            return True
        stop = max(place, len(buffer))
        self._keep(buffer[start:stop])
        self._at = stop
        return False

    def _keep(self, text: bytes) -> None:
        """Add to the statement, or pass it on at once when the statement's fate is decided."""
        if self._passes is None:
            self._statement += text
            if len(self._statement) <= HEAD_BYTES:
                return
            head = bytes(self._statement)
            if not head.strip():
                self._statement.clear()
                return
            if head.lstrip()[:4].upper() == b"COPY":
                raise refused("it holds a COPY statement that pg_dump does not write")
            self._passes = self._judge(head.strip())
            text = head
            self._statement.clear()
        if self._passes:
            self._out.append(text)

    def _begin_copy(self, text: bytes) -> None:
        header = parse_statement(text)
        if not isinstance(header, CopyHeader):
            raise refused("it holds a COPY statement that pg_dump does not write")
        self._table = header.table
        self._out += (bytes(self._statement), b";\n")
        self._begin_statement()
        self._step = self._copy_begins

    def _copy_begins(self, buffer: bytes, final: bool) -> bool:
        """Nothing may stand behind the statement in its line."""
        end = buffer.find(b"\n", self._at)
        if buffer[self._at : end if end >= 0 else None].strip():
            raise refused(f"something follows the COPY statement of {self._table} in its line")
        if end < 0:
            return False
        self._at = end + 1
        self._step = self._copy_data
        return True

    def _copy_data(self, buffer: bytes, final: bool) -> bool:
        r"""Rows up to and with the line ``\.``, which psql takes for their end in exactly this form."""
        look_from = max(0, self._at - 1)
        while match := _END_OF_DATA.search(buffer, look_from):
            rest = buffer[match.end() : match.end() + 2]
            if rest.startswith((b"\n", b"\r\n")):
                stop = match.end() + rest.index(b"\n") + 1
                self._out.append(buffer[self._at : stop])
                self._at = stop
                self._step = self._top
                return True
            if rest in (b"", b"\r"):
                break
            look_from = match.end()
        newline = buffer.rfind(b"\n", max(look_from, len(buffer) - 4))
        undecided = newline >= 0 and b"\n\\.\r\n".startswith(buffer[newline:])
        stop = newline + 1 if undecided else len(buffer)
        if stop > self._at:
            self._out.append(buffer[self._at : stop])
            self._at = stop
        return False


def refused(why: str) -> ArchiveError:
    """The dump must not be given to psql."""
    return ArchiveError(
        f"The dump was refused: {why}.",
        hint="Nothing was restored. Do not load this dump with other tools before you know where it came from.",
        code=ErrorCode.HOSTILE_ARCHIVE,
        permanent=True,
    )
