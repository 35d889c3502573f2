"""A TCP relay that dies in the middle: after so many bytes from the far side it cuts the connection, or falls silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CuttingProxy:
    """Relays to ``target_port`` of this machine. ``after_bytes`` None: for ever."""

    def __init__(self, target_port: int, after_bytes: int | None, *, silent: bool = False) -> None:
        self._target = target_port
        self._left = after_bytes
        self._silent = silent
        self._ending = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Every connection is gone."""
        self._ending.set()
        self._cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                threading.Thread(target=self._relay, args=(near, far), daemon=True).start()
                threading.Thread(target=self._relay, args=(far, near), kwargs={"counted": True}, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, *, counted: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16 * 1024):
                if counted and self._left is not None:
                    data, self._left = data[: self._left], max(self._left - len(data), 0)
                sink.sendall(data)
                if counted and self._left == 0:
                    if self._silent:
                        self._ending.wait(60)
                    self._cut()
                    return
            sink.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextmanager
def cutting_proxy(target_port: int, after_bytes: int | None, *, silent: bool = False) -> Iterator[CuttingProxy]:
    """One that is gone on the way out."""
    proxy = CuttingProxy(target_port, after_bytes, silent=silent)
    try:
        yield proxy
    finally:
        proxy.close()
