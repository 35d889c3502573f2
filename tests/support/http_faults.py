"""Ways a web server can send one answer, honest and faulty: each Sender writes head and body to the raw connection."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What is to be sent, before a Sender decides how."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass
class Line:
    """The connection an answer goes out on. ``stopping`` is set when the server ends: no fault outlives its test."""

    connection: socket.socket
    stopping: threading.Event = field(default_factory=threading.Event)

    def send(self, data: bytes) -> None:
        """Send all; a client that went away is not our problem."""
        self.connection.sendall(data)

    def reset(self) -> None:
        """Close so that the client sees RST, not the end of the file."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())


Sender = Callable[[Line, Answer], None]


def head(answer: Answer, *extra: tuple[str, str], version: str = "HTTP/1.0") -> bytes:
    """Status line and headers."""
    lines = [f"{version} {answer.status} Whatever"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers, *extra)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _blocks(body: bytes, size: int = BLOCK) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), size):
        yield bytes(view[start : start + size])


def with_length(line: Line, answer: Answer) -> None:
    """An ordinary page: Content-Length and the body."""
    line.send(head(answer, ("Content-Length", str(len(answer.body)))) + answer.body)


def prefork(line: Line, answer: Answer) -> None:
    """Odoo with workers: HTTP/1.0, no length; the end is the closed connection."""
    line.send(head(answer))
    for block in _blocks(answer.body):
        line.send(block)


def threaded(line: Line, answer: Answer) -> None:
    """Odoo without workers: HTTP/1.1, chunked, Connection: close; small chunks as Odoo makes them."""
    line.send(head(answer, ("Transfer-Encoding", "chunked"), ("Connection", "close"), version="HTTP/1.1"))
    for block in _blocks(answer.body, 4096):
        line.send(b"%x\r\n%s\r\n" % (len(block), block))
    line.send(b"0\r\n\r\n")


def cut(at: int) -> Sender:
    """A killed prefork worker: the first ``at`` bytes, then a clean close; nothing in HTTP says that it is not all."""

    def send(line: Line, answer: Answer) -> None:
        prefork(line, Answer(answer.status, answer.headers, answer.body[:at]))

    return send


def reset(at: int) -> Sender:
    """The first ``at`` bytes, then RST."""

    def send(line: Line, answer: Answer) -> None:
        cut(at)(line, answer)
        line.reset()

    return send


def short_length(at: int) -> Sender:
    """Content-Length of the whole, ``at`` bytes of it."""

    def send(line: Line, answer: Answer) -> None:
        line.send(head(answer, ("Content-Length", str(len(answer.body)))) + answer.body[:at])

    return send


def unterminated_chunks(at: int) -> Sender:
    """Chunked, but the connection ends without the last chunk."""

    def send(line: Line, answer: Answer) -> None:
        line.send(head(answer, ("Transfer-Encoding", "chunked"), version="HTTP/1.1"))
        for block in _blocks(answer.body[:at], 4096):
            line.send(b"%x\r\n%s\r\n" % (len(block), block))

    return send


def broken_chunk(line: Line, answer: Answer) -> None:
    """A chunk that says 4,096 bytes and ends in the middle."""
    line.send(head(answer, ("Transfer-Encoding", "chunked"), version="HTTP/1.1"))
    line.send(b"1000\r\n" + answer.body[:100])


def nonsense_chunk_size(line: Line, answer: Answer) -> None:
    """Chunk sizes that are no numbers."""
    line.send(head(answer, ("Transfer-Encoding", "chunked"), version="HTTP/1.1"))
    line.send(b"4\r\n" + answer.body[:4] + b"\r\nzebra\r\n" + answer.body[4:])


def stall(at: int) -> Sender:
    """The first ``at`` bytes, then silence on an open connection."""

    def send(line: Line, answer: Answer) -> None:
        line.send(head(answer) + answer.body[:at])
        line.stopping.wait()

    return send


def drip(seconds: float) -> Sender:
    """One byte every ``seconds``."""

    def send(line: Line, answer: Answer) -> None:
        line.send(head(answer))
        for byte in answer.body:
            if line.stopping.wait(seconds):
                return
            line.send(bytes((byte,)))

    return send


def endless(line: Line, answer: Answer) -> None:
    """The body over and over, for ever."""
    line.send(head(answer))
    while not line.stopping.is_set():
        line.send(answer.body)


def silent(line: Line, answer: Answer) -> None:
    """Not one byte, connection open."""
    line.stopping.wait()


def empty_reply(line: Line, answer: Answer) -> None:
    """The connection closes without a byte: a worker killed before it answered."""


def reset_reply(line: Line, answer: Answer) -> None:
    """RST instead of an answer."""
    line.reset()


def garbage(line: Line, answer: Answer) -> None:
    """Something that is not HTTP at all."""
    line.send(b"220 mail.example.com ESMTP ready\r\n" * 3)


def half_head(line: Line, answer: Answer) -> None:
    """The connection closes inside the status line."""
    line.send(b"HTTP/1.1 20")


def huge_head(line: Line, answer: Answer) -> None:
    """More headers than any honest server sends."""
    line.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(90):
        line.send(b"X-Filler-%d: %s\r\n" % (number, b"x" * 60_000))
    line.send(b"\r\n")


def many_headers(line: Line, answer: Answer) -> None:
    """A thousand headers."""
    line.send(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n")


def nonsense_length(line: Line, answer: Answer) -> None:
    """A Content-Length smaller than the body: the client must not take it for the whole."""
    line.send(head(answer, ("Content-Length", str(len(answer.body) // 2))) + answer.body)


def slow_first_byte(seconds: float, then: Sender) -> Sender:
    """Silence first, as Odoo keeps while it writes its zip; then an honest answer."""

    def send(line: Line, answer: Answer) -> None:
        if not line.stopping.wait(seconds):
            then(line, answer)

    return send


def instead(answer: Answer, how: Sender = with_length) -> Sender:
    """Another answer than the one meant: a proxy's page, a login page."""

    def send(line: Line, _meant: Answer) -> None:
        how(line, answer)

    return send
