"""The only outbound HTTP client: one request, one connection, no redirects, no proxies, limits on everything endless.

Secrets may be in a body or a header, so neither ever appears in an error.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from webapp.core.errors import HoldfastError, SourceError
from webapp.core.status import ErrorCode
from webapp.engine.connections import Target, connect, secured
from webapp.engine.report import Reporter
from webapp.engine.tls import PeerCertificate

BLOCK_BYTES = 1024 * 1024
_WIRE_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What we put up with. The first byte may be long in coming: Odoo writes its whole zip before it answers."""

    connect_seconds: float = 30.0
    first_byte_seconds: float = 3600.0
    idle_seconds: float = 120.0
    slowest_bytes_per_second: float = 1024.0
    slow_window_seconds: float = 300.0
    largest_head_bytes: int = 256 * 1024
    largest_body_bytes: int = 4 * 1024**4


USUAL_LIMITS = HttpLimits()
_CUT_HINT = (
    "The server or a proxy before it cut the answer: see Odoo's log at this time (limit_time_real, memory limits) and "
    "the proxy's."
)


@dataclass(frozen=True, slots=True)
class Response:
    """A head and a body that can be read once.

    Attributes:
        headers: Lower-case names; of repeated ones the last.
        length_known: False when only the end of the connection ends the body: then nothing proves that it is whole.
    """

    status: int
    headers: Mapping[str, str]
    length_known: bool
    expected_bytes: int | None
    certificate: PeerCertificate | None
    _body: _Body

    def chunks(self) -> Iterator[memoryview]:
        """The body in blocks of up to 1 MiB; a block is valid until the next is asked for.

        Raises SourceError: truncated, connection_lost, stalled, too_large. Raises TaskStopped.
        """
        return self._body.chunks()

    def beginning(self, size: int) -> bytes:
        """At most ``size`` bytes of the body, for pages that are read whole or not at all."""
        return self._body.beginning(size)


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is too large to be held: its length, which is announced, and its pieces, which add up to it."""

    size_bytes: int
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``body``, ``upload`` (instead of it) and ``headers`` may hold secrets."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None


@contextmanager
def request(
    target: Target, asked: Request, reporter: Reporter, *, limits: HttpLimits = USUAL_LIMITS
) -> Iterator[Response]:
    """Send one request and give the response, whatever its status. A stop closes the socket at once.

    Raises SourceError and TaskStopped, here and while the body is read.
    """
    reporter.check()
    connection, certificate = secured(connect(target, timeout_seconds=limits.connect_seconds), target)
    try:
        with reporter.on_stop(lambda: _shut(connection)):
            wire = _Wire(connection, target, reporter, limits)
            with _translated(target, reporter, wire):
                _send(wire, target, asked)
                answer = _read_head(wire, asked.method)
            yield _response(answer, wire, certificate)
    finally:
        connection.close()


def _shut(connection: socket.socket) -> None:
    # Not SSLSocket.shutdown: that one throws the TLS state away under the feet of the thread that reads.
    with suppress(OSError):  # It may be closed already.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _send(wire: _Wire, target: Target, asked: Request) -> None:
    sender = http.client.HTTPConnection(target.host, target.port)
    sender.sock = cast(socket.socket, wire)
    sender.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
    base = {"Host": target.host_header, "User-Agent": "Holdfast", "Accept-Encoding": "identity", "Connection": "close"}
    for name, value in {**base, **asked.headers}.items():
        sender.putheader(name, value)
    if asked.body is not None:
        sender.putheader("Content-Length", str(len(asked.body)))
    if asked.upload is not None:
        sender.putheader("Content-Length", str(asked.upload.size_bytes))
    sender.endheaders(asked.body)
    if asked.upload is not None:
        _send_pieces(wire, asked.upload)


def _send_pieces(wire: _Wire, upload: Upload) -> None:
    """Send what the upload holds, unless the server closes before: it may have answered already, and why is in there."""
    for piece in upload.pieces:
        wire.reporter.check()
        try:
            wire.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return


def _read_head(wire: _Wire, method: str) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(cast(socket.socket, wire), method=method)
    answer.begin()
    return answer


def _response(answer: http.client.HTTPResponse, wire: _Wire, certificate: PeerCertificate | None) -> Response:
    wire.in_body = True
    expected = answer.length
    return Response(
        status=answer.status,
        headers={name.lower(): value for name, value in answer.getheaders()},
        length_known=expected is not None or bool(answer.chunked),
        expected_bytes=expected,
        certificate=certificate,
        _body=_Body(answer, wire, expected),
    )


class _Body:
    """The body of one response, with every way in which it can be less than whole."""

    def __init__(self, answer: http.client.HTTPResponse, wire: _Wire, expected: int | None) -> None:
        self._answer = answer
        self._wire = wire
        self._expected = expected

    def chunks(self) -> Iterator[memoryview]:
        wire, block = self._wire, memoryview(bytearray(BLOCK_BYTES))
        taken = 0
        while True:
            with _translated(wire.target, wire.reporter, wire, taken):
                size = self._answer.readinto(block)
            if not size:
                break
            taken += size
            if taken > wire.limits.largest_body_bytes:
                raise _too_large(wire.target, wire.limits.largest_body_bytes)
            yield block[:size]
        # readinto() answers a short Content-Length with an ordinary end.
        if self._expected is not None and taken < self._expected:
            raise truncated(
                f"{taken:,} of {self._expected:,} bytes came from {wire.target.place}, then the connection ended."
            )

    def beginning(self, size: int) -> bytes:
        kept = bytearray()
        for block in self.chunks():
            kept += block[: size - len(kept)]
            if len(kept) >= size:
                break
        return bytes(kept)


class _Wire(io.RawIOBase):
    """The socket as http.client wants it, watched at every read: stop, silence, trickle, size of the head."""

    def __init__(self, connection: socket.socket, target: Target, reporter: Reporter, limits: HttpLimits) -> None:
        self._connection = connection
        self.target = target
        self.reporter = reporter
        self.limits = limits
        self.in_body = False
        self.received = 0
        self._window_seconds = 0.0
        self._window_bytes = 0
        connection.settimeout(limits.idle_seconds)

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _WIRE_BUFFER_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self.reporter.check()
        self._connection.settimeout(self.limits.idle_seconds if self.received else self.limits.first_byte_seconds)
        began = time.monotonic()
        size = self._connection.recv_into(buffer)
        if not size:
            self.reporter.check()  # A stop shuts the socket, which reads as an ordinary end.
        if self.received:
            self._watch_pace(time.monotonic() - began, size)
        self.received += size
        if not self.in_body and self.received > self.limits.largest_head_bytes + _WIRE_BUFFER_BYTES:
            raise http.client.LineTooLong("header")
        return size

    def _watch_pace(self, seconds: float, size: int) -> None:
        """Only the time spent waiting for the other side counts, not the time our own disk took."""
        self._window_seconds += seconds
        self._window_bytes += size
        if self._window_seconds < self.limits.slow_window_seconds:
            return
        if size and self._window_bytes < self.limits.slowest_bytes_per_second * self._window_seconds:
            raise _stalled(
                f"{self.target.place} sends only {self._window_bytes / self._window_seconds:,.0f} bytes a second, too "
                "slow to be a backup."
            )
        self._window_seconds, self._window_bytes = 0.0, 0


@contextmanager
def _translated(target: Target, reporter: Reporter, wire: _Wire, taken: int = 0) -> Iterator[None]:
    """Errors of sockets and of http.client, in the operator's words. A stop comes first: it closed the socket."""
    try:
        yield
    except HoldfastError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reporter.check()
        raise _error_for(error, target, wire, taken) from None


def _error_for(error: Exception, target: Target, wire: _Wire, taken: int) -> SourceError:
    after = f" after {taken:,} bytes" if taken else ""
    match error:
        case TimeoutError() if not wire.received:
            return _stalled(f"{target.place} sent no answer within {wire.limits.first_byte_seconds:,.0f} seconds.")
        case TimeoutError():
            return _stalled(f"{target.place} went silent for {wire.limits.idle_seconds:,.0f} seconds{after}.")
        case http.client.IncompleteRead():
            return truncated(f"The answer of {target.place} broke off in the middle of a chunk{after}.")
        case http.client.RemoteDisconnected():
            return _lost(f"{target.place} closed the connection without an answer.")
        case ConnectionError() | ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return _lost(f"The connection to {target.place} was lost{after}.")
        case http.client.HTTPException() | ValueError():
            return SourceError(
                f"{target.place} does not answer in proper HTTP.",
                hint="Check host and port: something else than Odoo or its web proxy listens there.",
                code=ErrorCode.HTTP_ERROR,
            )
        case _:
            return _lost(f"The connection to {target.place} failed{after}.")


def truncated(message: str, hint: str = "") -> SourceError:
    """A body that is less than the whole."""
    return SourceError(message, hint=hint or _CUT_HINT, code=ErrorCode.TRUNCATED)


def _lost(message: str) -> SourceError:
    return SourceError(
        message,
        hint=(
            "Odoo may have killed its worker (limit_time_real, limit_memory_hard) or restarted: its log tells. Raise "
            "the limit, or back this instance up as Odoo over PostgreSQL."
        ),
        code=ErrorCode.CONNECTION_LOST,
    )


def _stalled(message: str) -> SourceError:
    return SourceError(
        message,
        hint=(
            "Look at the load of the server and at the network; a very large database is better backed up as Odoo over "
            "PostgreSQL."
        ),
        code=ErrorCode.STALLED,
    )


def _too_large(target: Target, limit: int) -> SourceError:
    return SourceError(
        f"{target.place} sends more than the allowed {limit:,} bytes.",
        hint="Either the server sends without end, or the limit for this job is too small.",
        code=ErrorCode.TOO_LARGE,
        permanent=True,
    )
