"""Writing to the disk while more still comes, so that the sync before promotion finds little left to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.core.errors import StoreError
from webapp.engine.snapshots.promotion import sync_partial

PAUSE_SECONDS = 2.0


@contextmanager
def syncing(partial: str, *, pause_seconds: float = PAUSE_SECONDS) -> Iterator[None]:
    """Sync the file system of the unfinished snapshot ``partial`` from a thread of its own, over and over, while inside.

    A sync that failed is raised at the end, for the file system tells of an error once only. Raises StoreError. Left with
    another error, it waits for nothing.
    """
    early = _EarlySync(partial, pause_seconds)
    early.start()
    try:
        yield
    except BaseException:
        early.over.set()
        raise
    early.finish()


class _EarlySync(threading.Thread):
    """Never more than half of the time is spent on syncs."""

    def __init__(self, partial: str, pause_seconds: float) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._partial = partial
        self._pause = pause_seconds
        self._failed: StoreError | None = None

    def run(self) -> None:
        """Until it is over, or a sync failed."""
        took = 0.0
        while not self.over.wait(max(self._pause, took)):
            began = time.monotonic()
            try:
                sync_partial(self._partial)
            except StoreError as error:
                self._failed = error
                return
            took = time.monotonic() - began

    def finish(self) -> None:
        """Wait for the last one, and raise what was wrong with any."""
        self.over.set()
        self.join()
        if self._failed is not None:
            raise self._failed
