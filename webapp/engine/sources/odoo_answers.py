"""Reading what Odoo answers: its manager page, the red box in it, and all that is not a backup. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import quote, quote_plus, urlsplit

from webapp.core.errors import SourceError
from webapp.core.plans import Secret
from webapp.core.status import ErrorCode

PAGE_BYTES = 512 * 1024
_TAGS = re.compile(r"<[^<>]*>")
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_VERB = re.compile(r"^(Database backup error:|Could not backup database\.)\s*", re.IGNORECASE)
_DISABLED = "database manager has been disabled"
# How the manager page shows that the master password is still the default, in 15.0 to the development branch
# (addons/web/static/src/public/database_manager*.qweb.html): a banner, a suggested password in each form, and the
# default in a hidden field. The banner is shown only beside a list of databases, the others always.
_INSECURE = ("database manager is not protected", "generated_master_pwd")
_DEFAULT_FIELD = re.compile(r'<input type="hidden" name="master_pwd"[^<>]*value="admin"')

DISABLED_HINT = (
    "Odoo's database manager is off (list_db = False), and with it every backup over HTTP. Back this instance up as "
    "Odoo over PostgreSQL, or set list_db = True and restrict /web/database/ in the web proxy."
)
FILTER_HINT = (
    "Check the name. Odoo's dbfilter looks at the Host header: set the instance's Host header to the public name of "
    "this database, for example prod.example.com."
)
_BACKUP_HINT = (
    "Odoo's log at this time tells the cause; disk space in its temporary directory is the usual one (it needs twice "
    "the filestore)."
)
_STRANGER_HINT = (
    "Something else than Odoo answered: a maintenance page, a firewall or a proxy. Let Holdfast's address through to "
    "/web/database/."
)
SLOW_HINT = (
    "A time limit struck: raise proxy_read_timeout in nginx and limit_time_real in odoo.conf above the length of the "
    "backup, or back this instance up as Odoo over PostgreSQL, which knows no such limits."
)


@dataclass(frozen=True, slots=True)
class ManagerPage:
    """What the database manager's page tells without being asked anything.

    Attributes:
        recognised: It is the manager's page: it has the forms that ask for a master password.
        disabled: list_db is off.
        insecure: The master password is still the default: the first call with any password would replace it.
    """

    recognised: bool
    disabled: bool
    insecure: bool


def read_manager_page(body: bytes) -> ManagerPage:
    """Read the page of ``/web/database/manager``."""
    text = body.decode("utf-8", "replace")
    return ManagerPage(
        recognised='name="master_pwd"' in text,
        disabled=_DISABLED in text,
        insecure=any(sign in text for sign in _INSECURE) or bool(_DEFAULT_FIELD.search(text)),
    )


def plain_text(text: str, limit: int) -> str:
    """Text without tags, control characters or direction marks, in one line, at most ``limit`` characters.

    Answers with binary content are not worth showing: "".
    """
    if "\x00" in text[:limit]:
        return ""
    bare = unescape(_TAGS.sub(" ", _printable(text[: limit * 200])))
    line = " ".join(_printable(bare).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def alerts(page: str) -> list[str]:
    """The texts of the red boxes on a page, in order. Linear in the page's size, whatever it holds."""
    found, at = [], page.find("alert-danger")
    while at >= 0:
        begins = page.find(">", at) + 1
        ends = page.find("</div>", begins)
        if not begins or ends < 0:
            break
        found.append(plain_text(page[begins : min(ends, begins + 20_000)], 500))
        at = page.find("alert-danger", ends)
    return [text for text in found if text]


def without(text: str, secret: Secret) -> str:
    """``text`` without a secret that the other side sent back, in any spelling we may have sent it in."""
    value = secret.reveal()
    for spelling in (value, escape(value), quote(value), quote_plus(value), quote(value, safe="")) if value else ():
        text = text.replace(spelling, "***")
    return text


def refusal(status: int, headers: Mapping[str, str], body: bytes, secret: Secret) -> SourceError:
    """The error that an answer amounts to which is no backup: a redirect, Odoo's red box, a proxy's page, anything."""
    if 300 <= status < 400:
        return redirected(status, headers)
    text = without(body.decode("utf-8", "replace"), secret)
    boxes = alerts(text)
    if any(_DISABLED in box for box in boxes):
        return SourceError(
            "Odoo's database manager is disabled.",
            hint=DISABLED_HINT,
            code=ErrorCode.DATABASE_MANAGER_DISABLED,
            permanent=True,
        )
    if boxes:
        return _odoo_error(_VERB.sub("", boxes[-1]))
    if status != 200:
        return _http_error(status, text)
    return _not_a_backup(headers, text, len(body))


def redirected(status: int, headers: Mapping[str, str]) -> SourceError:
    """A redirect, which is never followed: the master password goes to the host the admin named or nowhere."""
    to = urlsplit(plain_text(headers.get("location", ""), 2000))
    origin = (
        plain_text(f"{to.scheme}://{to.netloc.rpartition('@')[2]}", 200)
        if to.netloc
        else "another page of the same host"
    )
    hint = (
        f"If {origin} is the right address, use it as the instance's URL."
        if to.netloc
        else "Check the URL and the web proxy's rules."
    )
    return SourceError(
        f"The server redirects to {origin} (status {status}). Holdfast follows no redirect, so that the master "
        "password reaches no other host.",
        hint=hint,
        code=ErrorCode.REDIRECTED,
        permanent=True,
    )


def _odoo_error(text: str) -> SourceError:
    low = text.lower()
    if "access denied" in low:
        return SourceError(
            "Odoo refused the master password.",
            hint="Enter the instance's master password again: it is admin_passwd of odoo.conf, not a user's password.",
            code=ErrorCode.AUTH_FAILED,
            permanent=True,
        )
    if "is not known" in low or "does not exist" in low:
        return SourceError(
            f"Odoo does not know the database: {text}",
            hint=FILTER_HINT,
            code=ErrorCode.DATABASE_NOT_FOUND,
            permanent=True,
        )
    hint = _BACKUP_HINT
    if "pg_dump" in low:
        hint = f"pg_dump failed inside Odoo: does the database exist under exactly this name? {hint}"
    return SourceError(f"Odoo could not make the backup: {text}", hint=hint, code=ErrorCode.SOURCE_BACKUP_FAILED)


_STATUS_HINTS = {
    401: "The web proxy asks for its own sign-in: let Holdfast's address through to /web/database/.",
    403: "The web proxy forbids this path: let Holdfast's address through to /web/database/.",
    404: (
        "Nothing answers at this path: check that the URL is Odoo's root, and that the web proxy passes /web/database/ "
        "on."
    ),
    405: (
        "The path exists but takes no POST: a proxy may rewrite the request; check that it passes /web/database/ on "
        "unchanged."
    ),
    407: "A proxy asks for its own sign-in.",
    413: "A proxy finds the request too large, which it is not: check its limits for /web/database/.",
    421: "The server does not serve this name: check the instance's Host header.",
    429: "The web proxy counts too many requests: exempt Holdfast's address from its rate limit.",
    500: "Odoo failed inside: its log at this time tells why.",
    502: f"The proxy lost Odoo: it may have restarted or killed the worker. {SLOW_HINT}",
    503: "Odoo or its proxy is in maintenance or overloaded: try again later.",
    504: SLOW_HINT,
}


def _http_error(status: int, text: str) -> SourceError:
    said = plain_text(text, 200)
    return SourceError(
        f"The server answered with HTTP status {status}{f': {said}' if said else ''}.",
        hint=_STATUS_HINTS.get(status, "Look into the logs of Odoo and of its web proxy at this time."),
        code=ErrorCode.HTTP_ERROR,
        permanent=status in (401, 404, 405),
    )


def _not_a_backup(headers: Mapping[str, str], text: str, size: int) -> SourceError:
    match = _TYPE.match(headers.get("content-type", ""))
    kind = match.group()[:80] if match else "no content type"
    said = plain_text(text, 200)
    if headers.get("content-encoding", "identity") != "identity":
        hint = "A proxy compresses the answer although it was not asked to: switch that off for /web/database/."
    elif "oe_login_form" in text or 'name="login"' in text:
        hint = "This is a login page: /web/database/ is behind a sign-in, or the URL is not Odoo's root."
    else:
        hint = _STRANGER_HINT
    return SourceError(
        f"The answer is not a backup (got {kind}, {size:,} bytes{f': {said}' if said else ''}).",
        hint=hint,
        code=ErrorCode.NOT_A_BACKUP,
    )
