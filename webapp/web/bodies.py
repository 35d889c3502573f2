"""Where the files of a request lie while it is read: beside the archives, which is where the room is."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import IO

from flask import Request

from webapp.services.wiring import wired

SMALL_BYTES = 1024 * 1024


class HouseRequest(Request):
    """Flask's request, with a place for large files.

    The system's temporary directory is often small, or memory: an upload would fill it for everybody. The file has no name,
    so nothing of it is left when this process ends, however it ends.
    """

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if (self.max_content_length or 0) <= SMALL_BYTES:
            return super()._get_file_stream(total_content_length, content_type, filename, content_length)
        return TemporaryFile("w+b", dir=wired().archive_directory)
