"""Where a request goes, and the TCP and TLS connection to it; address policy and identity come before any byte of ours.

``Host`` can differ from the URL (Odoo's dbfilter reads it): it is sent as given, and names the server in TLS only when
the URL holds a bare IP address; otherwise the URL's own name must match the certificate.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from webapp.core.errors import InvalidInput, SourceError
from webapp.core.plans import TlsPlan
from webapp.core.status import ErrorCode
from webapp.engine.addresses import refusal_of, resolve
from webapp.engine.tls import PeerCertificate, describe, secure

_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_SYSTEM_TLS = TlsPlan()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. Made by ``target_of``."""

    scheme: str
    host: str
    port: int
    host_header: str
    server_name: str
    tls: TlsPlan = _SYSTEM_TLS

    @property
    def place(self) -> str:
        """For messages: host and port."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def target_of(url: str, *, host_header: str = "", tls: TlsPlan = _SYSTEM_TLS) -> Target:
    """The target of ``scheme://host[:port]``. Raises InvalidInput for any other shape and for control characters."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise InvalidInput(
            "The URL is not valid.", field="url", hint="Use the form https://odoo.example.com."
        ) from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.username or _CONTROL.search(url):
        raise InvalidInput(
            "The URL is not usable.", field="url", hint="Use the form https://odoo.example.com, without a user name."
        )
    if _CONTROL.search(host_header) or not host_header.isascii():
        raise InvalidInput(
            "The Host header holds characters that no host name has.",
            field="host_header",
            hint="Give a bare name such as prod.example.com.",
        )
    shown = f"[{host}]" if ":" in host else host
    usual = port == (443 if parts.scheme == "https" else 80)
    name = _name_in(host_header) if host_header and _is_ip(host) else host
    return Target(parts.scheme, host, port, host_header or (shown if usual else f"{shown}:{port}"), name, tls)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_in(host_header: str) -> str:
    return urlsplit(f"//{host_header}").hostname or host_header


def connect(target: Target, *, timeout_seconds: float) -> socket.socket:
    """A TCP connection to the first address of the target that may be used and answers.

    Raises SourceError: dns_failed, address_refused, connection_failed.
    """
    refused, failed = "", ""
    for address in resolve(target.host, target.port):
        if reason := refusal_of(address.ip):
            refused = f"{address.ip} ({reason})"
            continue
        connection = socket.socket(address.family, socket.SOCK_STREAM)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(address.sockaddr)
        except OSError as error:
            connection.close()
            failed = "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or "no connection")
            continue
        return connection
    if refused and not failed:
        raise SourceError(
            f"{target.place} leads to {refused}, where Holdfast never connects.",
            hint=(
                "Use the server's own address; link-local, metadata and multicast addresses are refused for every "
                "instance."
            ),
            code=ErrorCode.ADDRESS_REFUSED,
            permanent=True,
        )
    raise SourceError(
        f"No connection to {target.place}: {failed.lower()}.",
        hint=(
            "Check that the server runs, that host and port are right, and that no firewall stands between it and "
            "Holdfast."
        ),
        code=ErrorCode.CONNECTION_FAILED,
    )


def secured(connection: socket.socket, target: Target) -> tuple[socket.socket, PeerCertificate | None]:
    """The connection as the scheme wants it, with the certificate that was accepted. Raises SourceError(tls_failed)."""
    if target.scheme != "https":
        return connection, None
    try:
        wrapped = secure(connection, target.tls, target.server_name)
    except OSError as error:
        connection.close()
        reason = "no answer in time" if isinstance(error, TimeoutError) else "the connection was closed"
        raise SourceError(
            f"The TLS handshake with {target.place} did not finish: {reason}.",
            hint="Check that this port speaks https.",
            code=ErrorCode.TLS_FAILED,
        ) from None
    return wrapped, describe(wrapped)
