"""A bounded hand-over between two threads that either side can abandon without the other waiting for ever."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ChannelClosed(Exception):
    """The other side has given up; nothing more will be taken or given."""


class Channel(Generic[Item]):
    """First in, first out, at most ``limit`` items waiting. One producer, one consumer.

    ``queue.Queue`` cannot be closed before Python 3.13, and a thread blocked in it would outlive a cancelled task.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False

    def put(self, item: Item) -> None:
        """Hand over one item, waiting for room. Raises ChannelClosed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._limit)
            if self._closed:
                raise ChannelClosed
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Nothing more will be put; what waits can still be taken."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give up: whoever waits or comes later gets ChannelClosed. May be called by either side, and twice."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Items until the producer finishes. Raises ChannelClosed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._finished or bool(self._items))
                if self._closed:
                    raise ChannelClosed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
