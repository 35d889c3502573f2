"""The cookies of Holdfast, and nothing else about them.

- the session: a random token, HttpOnly; named ``__Host-holdfast`` when cookies are Secure, else ``holdfast``.
- the page cookie (Flask's signed ``session``): only the CSRF value and the messages for the next page. It is readable to who
  owns the browser and cannot be revoked, so it never says who somebody is; for that the server asks its own table.
- the theme: a word, so that the page comes in the right colours before anybody has signed in.
"""

from __future__ import annotations

import hashlib
import hmac

from flask import Response, current_app, request
from flask import session as page_cookie

THEME = "holdfast-theme"
_YEAR_SECONDS = 365 * 24 * 3600
_LONGEST_TOKEN = 128


def session_cookie_name() -> str:
    """The ``__Host-`` prefix makes browsers refuse the cookie from other hosts, paths and plain http."""
    return "__Host-holdfast" if current_app.config["SESSION_COOKIE_SECURE"] else "holdfast"


def session_token() -> str | None:
    """The token that this browser sent, or None."""
    token = request.cookies.get(session_cookie_name(), "")
    return token if 0 < len(token) <= _LONGEST_TOKEN else None


def give_session(response: Response, token: str) -> Response:
    """Hand out a token. It ends with the browser; the server ends it sooner.

    The page cookie starts anew: a CSRF value from before signing in is worth nothing afterwards.
    """
    page_cookie.pop("csrf_token", None)
    response.set_cookie(session_cookie_name(), token, httponly=True, samesite="Lax", secure=_is_secure(), path="/")
    return response


def take_session(response: Response) -> Response:
    """Take the token back, and everything else of ours that the browser keeps."""
    page_cookie.clear()
    response.delete_cookie(session_cookie_name(), httponly=True, samesite="Lax", secure=_is_secure(), path="/")
    response.headers["Clear-Site-Data"] = '"cache", "cookies", "storage"'
    return response


def give_theme(response: Response, theme: str) -> Response:
    """Remember the theme in this browser."""
    response.set_cookie(
        THEME, theme, max_age=_YEAR_SECONDS, httponly=True, samesite="Lax", secure=_is_secure(), path="/"
    )
    return response


def theme() -> str:
    """The theme of this browser: "auto", "light" or "dark"."""
    found = request.cookies.get(THEME, "auto")
    return found if found in ("light", "dark") else "auto"


def derive(purpose: str, token: str) -> str:
    """A value that only this server can compute from a token, and that does not give the token away."""
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, f"{purpose}:{token}".encode(), hashlib.sha256).hexdigest()


def _is_secure() -> bool:
    return bool(current_app.config["SESSION_COOKIE_SECURE"])
