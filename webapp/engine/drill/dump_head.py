"""What a dump says before its first table: which server and which extensions it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from webapp.engine.drill.dump_reader import CopyBlock, DumpReader
from webapp.engine.drill.statements import Shape, plain_name, understand

# Statements that wait for others; a dump may hold comments and views as large as it likes.
MOST_GATHERED_BYTES = 64 * 1024 * 1024
_HEAD_SHAPES = (Shape.SETTING, Shape.SCHEMA, Shape.EXTENSION, Shape.EXTENSION_COMMENT, Shape.COMMENT, Shape.RIGHTS)


@dataclass(slots=True)
class DumpHead:
    """Extensions with their schemas, the encoding of names and rows; ``items`` still gives the whole dump."""

    items: Iterator[bytes | CopyBlock]
    extensions: dict[str, str] = field(default_factory=dict)
    encoding: str = "UTF8"


def read_head(reader: DumpReader) -> DumpHead:
    """Read up to the first statement that makes something; ``items`` still gives everything."""
    rest = iter(reader)
    taken: list[bytes | CopyBlock] = []
    size = 0
    head = DumpHead(iter(()))
    for item in rest:
        taken.append(item)
        found = understand(item) if isinstance(item, bytes) else None
        size += len(found.text) if found else 0
        if found is None or found.shape not in _HEAD_SHAPES or size > MOST_GATHERED_BYTES:
            break
        if found.shape is Shape.EXTENSION:
            head.extensions[plain_name(found.name)] = plain_name(found.other) or "public"
        elif found.text.startswith(b"SET client_encoding = '"):
            head.encoding = found.text.split(b"'")[1].decode("ascii", "replace")
    head.items = chain(taken, rest)
    return head
