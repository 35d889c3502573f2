"""Headers that every response carries: pages, errors, fragments, downloads and static files alike."""

from __future__ import annotations

import re
import secrets
from wsgiref.headers import Headers as WSGIHeaders

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        "frame-ancestors 'none'",
    )
)
# same-origin, not no-referrer: a refused POST must know the page to lead back to, and old browsers send no Sec-Fetch-Site.
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    "X-Robots-Tag": "noindex, nofollow",
}
HSTS = "max-age=31536000; includeSubDomains"
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}", re.ASCII)


def set_up(app: Flask) -> None:
    """Give every answer of the app its headers, and every request an id."""
    app.before_request(_name_request)
    app.after_request(_finish)


def request_id() -> str:
    """The id of this request: shown on error pages, written in the log."""
    if "request_id" not in g:
        g.request_id = secrets.token_hex(8)
    return str(g.request_id)


def add_security_headers(headers: WSGIHeaders | Headers, *, secure: bool) -> None:
    """Add what every response carries; a header that is set already stays (a download's sandboxed policy, say)."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if secure:
        headers.setdefault("Strict-Transport-Security", HSTS)


def _name_request() -> None:
    """A trusted proxy's id is kept so that its log and ours meet; it is an id only when it looks like one."""
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _finish(response: Response) -> Response:
    add_security_headers(response.headers, secure=request.is_secure)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = request_id()
    return response
