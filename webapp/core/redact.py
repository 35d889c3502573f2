"""Secrets taken out of text that will be logged, shown or stored: known ones in every spelling, then lookalikes."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator

MARK = "[secret]"
MIN_LENGTH = 4  # shorter ones would take half of every text away
_MIN_LINE = 16
_MIN_BASE64 = 6
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEY = r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|authorization)(?:[_-]?key)?"
_PATTERNS = (
    # scheme://user:PASS@host
    re.compile(r"(?P<before>://[^\s/:@]{0,200}:)[^\s/]{1,500}(?=@)"),
    # password="..." and "password": "...", also with the quotes escaped
    re.compile(
        rf"(?P<before>{_KEY}\\?[\"']?\s?[=:]\s?)(?P<quote>\\?[\"'])(?:(?!(?P=quote)).){{1,2000}}(?P=quote)", re.I
    ),
    # password=..., password:... and Authorization: Bearer ...
    re.compile(
        rf"(?P<before>{_KEY}(?:\s?=\s?|:\s?(?:bearer|basic)\s|:))(?!\[secret\])[^\s\"'&,;)\]}}]{{1,2000}}", re.I
    ),
    # a form field of a multipart request
    re.compile(rf"(?P<before>name=[\"']?[\w-]{{0,40}}?{_KEY}[\"']?\r?\n\r?\n)[^\r\n]{{1,2000}}", re.I),
)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with `[secret]` for every secret of four characters or more, however encoded, and for lookalikes."""
    text = _replace_spans(text, _find_spans(text, secrets))
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: match["before"] + MARK, text)
    return text


def _find_spans(text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Where any spelling of any secret stands; spans may overlap."""
    known = {part for secret in secrets for part in _parts(secret)}
    spans = []
    for spelling in {spelling for part in known for spelling in _spellings(part)}:
        start = text.find(spelling)
        while start >= 0:
            spans.append((start, start + len(spelling)))
            start = text.find(spelling, start + 1)
    return sorted(spans)


def _parts(secret: str) -> Iterator[str]:
    """What must not be seen of a secret: all of it, and of a key in PEM each line."""
    for part in (secret, secret.strip()):
        if len(part) >= MIN_LENGTH:
            yield part
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_LINE and not line.startswith("-----"))


def _replace_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """One mark for each run of overlapping spans, so that no end of an overlapped secret is left over."""
    parts, position, index = [], 0, 0
    while index < len(spans):
        start, end = spans[index]
        while index < len(spans) and spans[index][0] < end:
            end = max(end, spans[index][1])
            index += 1
        parts += [text[position:start], MARK]
        position = end
    return "".join([*parts, text[position:]])


def _spellings(secret: str) -> Iterator[str]:
    """The secret raw and as URLs, JSON, HTML, hexadecimal and base64 would write it."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield raw.hex()
    yield raw.hex().upper()
    for safe in (b"", b"/"):
        quoted = "".join(chr(byte) if byte in _UNRESERVED or byte in safe else f"%{byte:02X}" for byte in raw)
        for spelling in (quoted, quoted.replace("%20", "+")):
            yield spelling
            yield re.sub(r"%..", lambda match: match[0].lower(), spelling)
    yield from _base64_spellings(raw)


def _base64_spellings(raw: bytes) -> Iterator[str]:
    """What base64 makes of the secret at each of the three positions it can have within a longer text.

    The characters at the edges mix with the neighbours' bits, so they are left out.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        whole = (offset + len(raw)) * 8 // 6  # characters that depend on nothing after the secret
        middle = encoded[-(-offset * 8 // 6) : whole]
        if len(middle) >= _MIN_BASE64 or (offset == 0 and len(middle) >= MIN_LENGTH):
            yield middle
            yield middle.replace("+", "-").replace("/", "_")
