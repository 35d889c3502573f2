"""Files and folders of a snapshot as one stream, tar or zip, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from webapp.core.snapshot_plans import SnapshotPlace


def tar_stream(place: SnapshotPlace, paths: Sequence[str]) -> Iterator[bytes]:
    """The chosen paths and all below them as a tar, with real modes, owners, times and symlinks; () is all of it.

    Names are as on the host, without the leading slash. Devices, fifos and sockets are left out. NotFound is raised at once;
    a file that cannot be read whole ends the stream with an error, so that no download looks finished that is not.
    """
    raise NotImplementedError


def zip_stream(place: SnapshotPlace, paths: Sequence[str]) -> Iterator[bytes]:
    """The same as a zip, with modes, times and symlinks as zip files know them."""
    raise NotImplementedError
