"""Where to go after signing in: only to a page of ours that exists and asks for a sign-in."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import current_app, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect, RoutingException

_PLAIN = re.compile(r"/(?![/\\])[!-~]*", re.ASCII)
_LONGEST = 1024


def safe_next(target: str | None) -> str:
    """The target when it is the relative address of one of our pages, else "/"."""
    if not target or len(target) > _LONGEST or not _PLAIN.fullmatch(target) or "\\" in target:
        return "/"
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not _is_page(parts.path):
        return "/"
    return target.partition("#")[0]


def sign_in_url(endpoint: str, target: str) -> str:
    """The address of the sign-in page that leads back to ``target``."""
    return url_for(endpoint) if target == "/" else url_for(endpoint, next=target)


def _is_page(path: str) -> bool:
    try:
        endpoint, _ = current_app.url_map.bind("localhost").match(path, method="GET")
    except (HTTPException, RequestRedirect, RoutingException):
        return False
    return endpoint != "static" and not endpoint.startswith(("auth.", "setup.", "health.", "api."))
