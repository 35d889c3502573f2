"""Questions of a connection test and their answers; those that every test asks stand here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from webapp.core.errors import HoldfastError, TaskStopped
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.engine.addresses import resolve

Answer = tuple[CheckState, str, str, str, ErrorCode | None]  # state, detail, value, hint, code
NOT_ASKED = "Not asked, as an earlier check failed."
_TCP_SECONDS = 10
_SHOWN = 4


def good(detail: str, value: str = "") -> Answer:
    """A question answered well."""
    return CheckState.PASSED, detail, value, "", None


def asked(question: Callable[[], Answer]) -> Answer:
    """The answer; an error is one as well. Raises TaskStopped alone."""
    try:
        return question()
    except TaskStopped:
        raise
    except HoldfastError as error:
        return CheckState.FAILED, error.message, "failed", error.hint, error.code


def check_of(key: str, titles: Mapping[str, str], answer: Answer | None) -> Check:
    """The answer as a check; None for a question that an earlier failure made pointless."""
    state, detail, value, hint, code = answer or (CheckState.SKIPPED, NOT_ASKED, "", "", None)
    return Check(key=key, title=titles[key], state=state, detail=detail, value=value, hint=hint, code=code)


def find_addresses(host: str, port: int) -> Answer:
    """What the host's name leads to. Raises SourceError."""
    addresses = list(dict.fromkeys(found.ip for found in resolve(host, port)))
    return good(f"{host} is {', '.join(addresses[:_SHOWN])}.", addresses[0])


def knock(host: str, port: int, *, hint: str) -> Answer:
    """Whether the port accepts connections; ``hint`` is for one that does not."""
    try:
        with socket.create_connection((host, port), timeout=_TCP_SECONDS) as connection:
            peer = str(connection.getpeername()[0])
    except OSError as error:
        detail = f"{host} does not accept connections on port {port}: {error.strerror or error}."
        return CheckState.FAILED, detail, "refused", hint, ErrorCode.CONNECTION_FAILED
    return reached(peer, port)


def reached(peer: str, port: int) -> Answer:
    """The answer of a port that accepts connections."""
    return good(f"{peer} accepts connections on port {port}.", f"port {port}")
