"""A small threaded web server for tests: what it says is decided by its owner, and how it says it by a Sender."""

from __future__ import annotations

import email.parser
import email.policy
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from tests.support.http_faults import Answer, Line, Sender


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes


class Answerer(Protocol):
    """Who decides."""

    requests: list[Recorded]
    stopping: threading.Event

    def answer(self, request: Recorded) -> tuple[Answer, Sender]:
        """What to say, and how to send it."""


class _Handler(BaseHTTPRequestHandler):
    server: AnsweringServer
    timeout = 30

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        answerer = self.server.answerer
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Recorded(
            method=self.command,
            path=urlsplit(self.path).path,
            host=self.headers.get("Host", ""),
            headers={name.lower(): value for name, value in self.headers.items()},
            form=_form(self.headers.get("Content-Type", ""), body),
            body=body,
        )
        answerer.requests.append(request)
        self.close_connection = True
        answer, sender = answerer.answer(request)
        with suppress(OSError):  # The client went away, which is often the very thing under test.
            sender(Line(self.connection, answerer.stopping), answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class AnsweringServer(ThreadingHTTPServer):
    """Answers each request, one thread each, through its ``answerer``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answerer: Answerer, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.answerer = answerer
        self.tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A client that refuses our certificate must not fill the test's output.


def _form(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.startswith("application/x-www-form-urlencoded"):
        return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    if content_type.startswith("multipart/form-data"):
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
        )
        fields = {}
        for part in message.iter_parts():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            fields[str(part.get_param("name", header="content-disposition"))] = payload.decode("latin-1")
        return fields
    return {}
