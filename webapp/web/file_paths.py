"""Paths of a host's files on pages: names may hold any bytes, and a page, an address and a form hold text.

Services speak of paths as text with surrogate escapes (``os.fsdecode``). On its way through a browser such a path is its
percent-encoded bytes, which are ASCII; people see it with everything that is not printable spelt out.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

from werkzeug.datastructures import MultiDict

from webapp.core.errors import InvalidInput

LONGEST = 16_384
MOST_PATHS = 1000
# Control characters, marks that turn the direction of text around, surrogates, what has no meaning here, and line ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def sent_path(path: str) -> str:
    """The path as addresses and forms carry it."""
    return quote(os.fsencode(path), safe="/,:@+~!$'()*")


def shown_path(path: str) -> str:
    """The path as people see it: no byte of it can hide, or change how its surroundings look."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(_spelt(char) if unicodedata.category(char) in _UNSEEN else char for char in text)


def _spelt(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or char.encode("unicode_escape").decode("ascii")


def read_path(text: str) -> str:
    """A path that came from an address or a form, absolute; "" is the whole tree. Raises InvalidInput."""
    path = os.fsdecode(unquote_to_bytes(text[: LONGEST * 3]))
    if not path.startswith("/"):
        path = f"/{path}"
    if "\0" in path or ".." in path.split("/") or len(path) > LONGEST:
        raise InvalidInput("This is not a path inside a snapshot.", field="path")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def read_paths(values: MultiDict[str, str], name: str = "path") -> tuple[str, ...]:
    """All paths of that name, each once, in their order. Raises InvalidInput."""
    found = values.getlist(name)
    if len(found) > MOST_PATHS:
        raise InvalidInput(f"More than {MOST_PATHS} paths at once.", field=name, hint="Choose their folder instead.")
    return tuple(dict.fromkeys(read_path(text) for text in found))


def parts_of(path: str) -> Sequence[tuple[str, str]]:
    """The folders on the way to a path, itself last: (name, path) pairs, for breadcrumbs."""
    names = [name for name in path.split("/") if name]
    return [(name, "/" + "/".join(names[: index + 1])) for index, name in enumerate(names)]


def download_name(path: str, otherwise: str) -> str:
    """What a browser should call the file: the last part of its path, without anything that is not a plain character."""
    last = shown_path(path.rstrip("/").rsplit("/", 1)[-1])
    return "".join(char if char.isalnum() or char in "._-+ " else "_" for char in last).strip(" .")[:120] or otherwise
