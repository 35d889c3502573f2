"""The marker of a place that is ours: a small file with an id. An empty mount point has none."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass

from webapp.core.errors import StoreError
from webapp.core.status import ErrorCode
from webapp.engine.durable import write_durably

_VERSION = 1
_LARGEST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Marker:
    """One kind of marker: its file's ``name``, the ``format`` in it, and ``whose`` it is, for sentences ("archive store")."""

    name: str
    format: str
    whose: str

    def read(self, directory: str) -> str | None:
        """The id in the directory's marker, None when there is no marker. Raises StoreError for a damaged one, OSError."""
        try:
            with open(os.path.join(directory, self.name), "rb") as file:
                data = json.loads(file.read(_LARGEST_BYTES))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or data.get("format") != self.format or not isinstance(data.get("id"), str):
            raise StoreError(
                f"The {self.whose}'s marker {self.name} in {directory} is damaged.", code=ErrorCode.STORE_UNAVAILABLE
            )
        return str(data["id"])

    def write(self, directory: str) -> str:
        """Mark the directory with a new id, which is returned. Raises OSError."""
        new_id = uuid.uuid4().hex
        data = {"format": self.format, "version": _VERSION, "id": new_id}
        write_durably(os.path.join(directory, self.name), json.dumps(data).encode())
        return new_id

    def missing(self, directory: str) -> StoreError:
        """The error of a directory that has none."""
        return StoreError(
            f"The {self.whose} at {directory} is not there: its marker {self.name} is missing.",
            hint="If it lies on a disk of its own, mount that disk. Nothing is deleted or marked as missing meanwhile.",
            code=ErrorCode.STORE_UNAVAILABLE,
        )
