"""What lies in a place where archives are kept, read from the side-cars alone: for whoever lost the catalogue.

A directory is listed today; a bucket will be another ``Listing``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from webapp.core.manifest import Manifest
from webapp.core.naming import parse_archive_directory_name
from webapp.engine.disk import disk_error
from webapp.engine.shelf import INSTANCE_NAME, QUARANTINE, RESERVED, read_side_car_with_digest


@dataclass(frozen=True, slots=True)
class Found:
    """One directory of a store.

    Attributes:
        directory: Its path below the store, with "/".
        manifest: Its side-car; None exactly when ``problem`` says what is wrong with the archive.
        problem: "" for an archive that can be adopted.
        manifest_sha256: Of the side-car's file.
        known_kind: Whether the name is one that we give to archives.
    """

    directory: str
    quarantined: bool
    manifest: Manifest | None
    problem: str = ""
    known_kind: bool = True
    manifest_sha256: str = ""

    @property
    def relative_path(self) -> str:
        """Path of the archive's file below the store."""
        return f"{self.directory}/{self.manifest.file_name}" if self.manifest is not None else self.directory

    @property
    def instance_directory(self) -> str:
        """The instance's folder, e.g. "7-acme-prod"."""
        return self.directory.split("/")[1 if self.quarantined else 0]


class Listing(Protocol):
    """A place with archives."""

    def entries(self) -> Iterator[Found]:
        """Every archive directory, and every directory that is none though it lies where they do; sorted by path.

        Content is not read, only side-cars and sizes. Raises StoreError when the place cannot be read.
        """


class DirectoryListing:
    """The listing of a store on disk."""

    def __init__(self, root: str) -> None:
        self._root = root

    def entries(self) -> Iterator[Found]:
        """See Listing."""
        for quarantined, base in ((False, ""), (True, QUARANTINE)):
            for instance in self._directories(base):
                if instance.startswith(".") or (not base and instance in RESERVED):
                    continue
                folder = f"{base}/{instance}" if base else instance
                if not INSTANCE_NAME.fullmatch(instance):
                    yield Found(folder, quarantined, None, "This is not a directory of an instance.", known_kind=False)
                    continue
                for name in self._directories(folder):
                    yield self._look(f"{folder}/{name}", name, quarantined)

    def _look(self, directory: str, name: str, quarantined: bool) -> Found:
        if parse_archive_directory_name(name) is None:
            return Found(directory, quarantined, None, "Its name is not one of an archive.", known_kind=False)
        path = os.path.join(self._root, directory)
        manifest, digest = read_side_car_with_digest(path)
        if manifest is None:
            return Found(directory, quarantined, None, "Its manifest.json is missing or damaged.")
        try:
            size = os.lstat(os.path.join(path, manifest.file_name)).st_size
        except OSError:
            return Found(directory, quarantined, None, f"{manifest.file_name} is not there.")
        if size != manifest.size_bytes:
            why = f"{manifest.file_name} has {size} bytes; {manifest.size_bytes} were written."
            return Found(directory, quarantined, None, why)
        return Found(directory, quarantined, manifest, manifest_sha256=digest)

    def _directories(self, folder: str) -> list[str]:
        try:
            with os.scandir(os.path.join(self._root, folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_error(error, "list the archives") from error
