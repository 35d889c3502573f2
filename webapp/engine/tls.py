"""How a server's identity is checked: the system's authorities, an own one, or a pinned certificate."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from webapp.core.errors import InvalidInput, SourceError
from webapp.core.plans import TlsPlan
from webapp.core.status import ErrorCode

_PIN_HINT = (
    "If you know this server, pin its certificate's SHA-256 fingerprint or give its certificate authority in the "
    "instance's TLS settings; check the fingerprint on the server itself, not over the network."
)
# OpenSSL's X509_V_ERR_* numbers → what to do (https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/).
_HINTS = {
    9: "The certificate is not valid yet: check the clocks of both machines.",
    10: "Renew the certificate on the server (certbot renew, or the proxy's certificate), then try again.",
    18: f"The certificate is self-signed. {_PIN_HINT}",
    19: f"The chain ends in an authority this machine does not know. {_PIN_HINT}",
    20: (
        "The issuer is unknown: an intermediate certificate may be missing on the server (use the full chain). "
        f"{_PIN_HINT}"
    ),
    21: (
        "The issuer is unknown: an intermediate certificate may be missing on the server (use the full chain). "
        f"{_PIN_HINT}"
    ),
    62: (
        "Use the name the certificate was made for in the URL, or give it as the Host header when the URL holds an IP "
        "address."
    ),
    64: "The certificate names no IP address: use the host name in the URL, or give it as the instance's Host header.",
}


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate a server showed."""

    subject: str
    issuer: str
    not_after: datetime
    fingerprint: str


def client_context(plan: TlsPlan) -> ssl.SSLContext:
    """A context for one plan, TLS 1.2 or newer. With a pinned fingerprint the chain is not asked.

    Raises InvalidInput when the CA is no PEM certificate.
    """
    try:
        context = ssl.create_default_context(cadata=plan.ca_pem or None)
    except (ssl.SSLError, ValueError):
        raise InvalidInput(
            "The instance's certificate authority is not a PEM certificate.",
            field="ca_pem",
            hint="Paste the text from BEGIN to END.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if plan.ca_pem:
        # An intermediate the admin trusts is trusted, though its root is not here.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if plan.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def unchecked_certificate(connection: socket.socket, server_name: str) -> PeerCertificate | None:
    """The certificate a server shows, believed or not, to look at. Sends nothing of ours; closes the connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with connection, context.wrap_socket(connection, server_hostname=server_name) as wrapped:
            return describe(wrapped)
    except OSError:
        return None


def secure(connection: socket.socket, plan: TlsPlan, server_name: str) -> ssl.SSLSocket:
    """Make the handshake and check the server's identity; nothing of ours is sent before both are done.

    Raises SourceError(tls_failed); the connection is closed then.
    """
    context = client_context(plan)
    try:
        secured = context.wrap_socket(connection, server_hostname=server_name)
        require_fingerprint(secured, plan.fingerprint, server_name)
    except ssl.SSLError as error:
        connection.close()
        raise handshake_error(error, server_name) from None
    except SourceError:
        secured.close()
        raise
    return secured


def require_fingerprint(secured: ssl.SSLSocket, pinned: str, server_name: str) -> None:
    """Compare the certificate with the pinned SHA-256, if there is one. Raises SourceError(tls_failed)."""
    if not pinned:
        return
    found = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(found, normal_fingerprint(pinned)):
        raise SourceError(
            f"The certificate of {server_name} is not the pinned one: its SHA-256 is {found}.",
            hint=(
                "If the certificate was renewed on purpose, pin the new fingerprint; otherwise someone may sit between "
                "you and the server."
            ),
            code=ErrorCode.TLS_FAILED,
            permanent=True,
        )


def normal_fingerprint(text: str) -> str:
    """64 lower-case hex digits, from any of the usual spellings ("AB:CD:…", "sha256:…")."""
    return re.sub(r"[^0-9a-f]", "", text.lower().removeprefix("sha-256").removeprefix("sha256"))


def describe(secured: ssl.SSLSocket) -> PeerCertificate | None:
    """The certificate the other side showed, checked or not."""
    der = secured.getpeercert(binary_form=True)
    if not der:
        return None
    certificate = x509.load_der_x509_certificate(der)
    return PeerCertificate(
        subject=certificate.subject.rfc4514_string() or "(no subject)",
        issuer=certificate.issuer.rfc4514_string(),
        not_after=certificate.not_valid_after_utc,
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def handshake_error(error: ssl.SSLError, server_name: str) -> SourceError:
    """A failed handshake in the operator's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            f"The certificate of {server_name} was refused: {error.verify_message.rstrip('.')}.",
            hint=_HINTS.get(error.verify_code, _PIN_HINT),
            code=ErrorCode.TLS_FAILED,
            permanent=True,
        )
    reason = (error.reason or "the handshake failed").replace("_", " ").lower()
    plain = error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
    return SourceError(
        f"No TLS connection to {server_name}: {reason}.",
        hint="The server seems to speak plain http on this port: check the port, or the scheme in the URL."
        if plain
        else "Check that the server offers TLS 1.2 or newer on this port.",
        code=ErrorCode.TLS_FAILED,
        permanent=plain,
    )
