"""Ways to damage an archive or its side-car, drawn from a seed, spread over beginning, middle and end."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.proof.specimens import Specimen

EDGE = 512


class Kind(StrEnum):
    BIT_FLIP = "bit flip"
    BYTE_SET = "byte set"
    TRUNCATION = "truncation"
    INSERTION = "insertion"
    BLOCK_SWAP = "block swap"
    ARCHIVE_SWAP = "archive swap"
    MANIFEST_EDIT = "manifest edit"


PLACES = ("header", "body", "trailer")
SITED = (Kind.BIT_FLIP, Kind.BYTE_SET, Kind.TRUNCATION, Kind.INSERTION, Kind.BLOCK_SWAP)
STRATA = [(kind, place) for kind in SITED for place in PLACES] + [
    (Kind.ARCHIVE_SWAP, "file alone"),
    (Kind.ARCHIVE_SWAP, "both files"),
    (Kind.MANIFEST_EDIT, "a value"),
    (Kind.MANIFEST_EDIT, "a byte"),
    (Kind.MANIFEST_EDIT, "whole"),
]


@dataclass(frozen=True, slots=True)
class Mutant:
    """What lies in the directory afterwards. ``what`` says what was done, for whoever looks into a failure."""

    kind: Kind
    place: str
    data: bytes
    side_car: bytes
    what: str


def mutate(specimen: Specimen, other: Specimen, kind: Kind, place: str, chance: random.Random) -> Mutant:
    """One mutation; the result always differs from what was written."""
    data, side_car = specimen.data, specimen.manifest.as_bytes()
    while True:
        if kind is Kind.MANIFEST_EDIT:
            changed, what = data, place
            edited = _edited(specimen, other, place, chance)
        elif kind is Kind.ARCHIVE_SWAP:
            changed, what = other.data, place
            edited = other.manifest.as_bytes() if place == "both files" else side_car
        else:
            changed, what = _damaged(data, kind, place, chance)
            edited = side_car
        if (changed, edited) != (data, side_car):
            return Mutant(kind, place, changed, edited, what)


def _damaged(data: bytes, kind: Kind, place: str, chance: random.Random) -> tuple[bytes, str]:
    start, end = _stratum(len(data), place)
    at = chance.randrange(start, end)
    if kind is Kind.TRUNCATION:
        return data[:at], f"cut at {at}"
    if kind is Kind.INSERTION:
        inserted = chance.randbytes(chance.choice((1, 2, 7, 64)))
        return data[:at] + inserted + data[at:], f"{len(inserted)} bytes at {at}"
    changed = bytearray(data)
    if kind is Kind.BLOCK_SWAP:
        size = min(chance.choice((1, 16, 128)), (end - start) // 2)
        one = chance.randrange(start, end - 2 * size + 1)
        two = chance.randrange(one + size, end - size + 1)
        changed[one : one + size], changed[two : two + size] = data[two : two + size], data[one : one + size]
        return bytes(changed), f"{size} bytes at {one} and {two}"
    changed[at] = changed[at] ^ (1 << chance.randrange(8)) if kind is Kind.BIT_FLIP else chance.randrange(256)
    return bytes(changed), f"byte {at}"


def _stratum(size: int, place: str) -> tuple[int, int]:
    edge = min(EDGE, size // 4)
    return {"header": (0, edge), "body": (edge, size - edge), "trailer": (size - edge, size)}[place]


def _edited(specimen: Specimen, other: Specimen, place: str, chance: random.Random) -> bytes:
    text = specimen.manifest.as_bytes()
    if place == "a byte":
        at = chance.randrange(len(text))
        return text[:at] + bytes([text[at] ^ (1 << chance.randrange(8))]) + text[at + 1 :]
    if place == "whole":
        data = json.loads(text)
        return chance.choice(
            (
                b"",
                text[: chance.randrange(len(text))],
                other.manifest.as_bytes(),
                json.dumps(data).encode(),
                text + b"\n",
                json.dumps(data | {"version": 2}).encode(),
            )
        )
    data = json.loads(text)
    name = chance.choice([key for key in data if key not in ("format", "version")])
    data[name] = _other_value(name, data[name], chance)
    return json.dumps(data, indent=1, ensure_ascii=False).encode()


def _other_value(name: str, value: Any, chance: random.Random) -> Any:
    """A value that the format allows, so that only a digest can tell."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + chance.randint(1, 5)
    if name in ("started_at", "snapshot_at"):
        return "2026-11-21T02:30:04+00:00"
    if name == "sha256":
        return value[::-1]
    if name in ("content", "archive_format"):
        return {"database": "database_and_filestore", "zip": "custom", "custom": "zip"}.get(value, "database")
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [{"code": "incomplete", "message": "made up"}] if name == "warnings" else [*value, "ab/abcd"]
    if isinstance(value, dict):
        return {**value, "public.made_up": 3} if name == "table_rows" else {**value, "made up": "yes"}
    if name == "verification":
        return {"level": "complete", "passed": True, "checks": []}
    return {"public.made_up": 3} if name == "table_rows" else 3
