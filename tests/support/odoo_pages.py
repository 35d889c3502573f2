"""The pages an Odoo-like server shows: the database manager with its markers, and what may stand in its way."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

DISABLED = "The database manager has been disabled by the administrator"
_FILLER = "\n".join(
    f'<option value="x{n:03d}">A language or country of the create form, number {n}</option>' for n in range(480)
)


def _master_input(insecure: bool) -> str:
    warning = (
        '<div class="alert alert-warning"><p>Warning, your Odoo database manager is not protected. To secure it, we '
        "have generated "
        'the following master password for it:</p><p style="text-align: center;"><strong '
        'class="generated_master_pwd"></strong></p>'
        "<p>You can change it below but be sure to remember it, it will be asked for future operations on "
        "databases.</p></div>"
    )
    extra = " generated_master_pwd_input" if insecure else ""
    field = f'<input name="master_pwd" class="form-control{extra}" required="required" type="password"/>'
    return (warning if insecure else "") + field


def _change_form(insecure: bool) -> str:
    field = (
        '<input type="hidden" name="master_pwd" class="form-control" value="admin"/>'
        if insecure
        else _master_input(False)
    )
    return f'<form id="form_change_pwd" action="/web/database/change_password" method="post">{field}</form>'


def manager_page(
    *, databases: Sequence[str], list_db: bool, insecure: bool, error: str = "", manage: bool = True
) -> bytes:
    """The database manager (about 43 kB as in Odoo); ``error`` stands in the red box.

    The insecure banner shows only beside a list; the suggested password shows in every form.
    """
    parts = ['<html><head><title>Odoo</title></head><body><div class="container"><div class="o_database_list">']
    if not list_db:
        parts.append(f'<div class="alert alert-danger text-center">{DISABLED}</div>')
    elif insecure and databases:
        parts.append(
            '<div class="alert alert-warning">\n Warning, your Odoo database manager is not protected.<br/>\n Please '
            '<a href="#" data-bs-target=".o_database_master">set a master password</a> to secure it.</div>'
        )
    if error:
        parts.append(f'<div class="alert alert-danger">{escape(error)}</div>')
    if list_db:
        parts += [
            f'<a href="/web?db={escape(name)}" class="d-block flex-grow-1">{escape(name)}</a>' for name in databases
        ]
    parts.append("</div>")
    if manage or error:
        for verb in ("create", "restore", "duplicate", "drop", "backup"):
            parts.append(f'<form action="/web/database/{verb}" method="post">{_master_input(insecure)}</form>')
        parts.append(_change_form(insecure))
        parts.append(f'<select name="lang">{_FILLER}</select>')
    parts.append("</div></body></html>")
    return "".join(parts).encode()


LOGIN = (
    b"<!DOCTYPE html><html><head><title>Odoo</title></head><body>"
    b'<form class="oe_login_form" action="/web/login" method="post">'
    b'<input type="hidden" name="csrf_token" value="0123"/><label for="login">Email</label><input name="login"/>'
    b'<input type="password" name="password"/><button>Log in</button></form></body></html>'
)
MAINTENANCE = (
    b"<html><head><title>Down for maintenance</title></head><body><h1>We will be back at six</h1></body></html>"
)
WAF = (
    b"<html><head><title>Attention Required</title><script>while(1){}</script></head><body>"
    b"<h1>Sorry, you have been blocked</h1>"
    b"<p>Request id 7f3a \x1b[31m</p></body></html>"
)
ERROR_JSON = (
    b'{"jsonrpc": "2.0", "id": null, "error": {"code": 200, "message": "Odoo Server Error", '
    b'"data": {"name": "builtins.KeyError"}}}'
)
NGINX_504 = (
    b"<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n"
    b"<body><center><h1>504 Gateway Time-out</h1></center></body></html>"
)
CAPTIVE = b"<!doctype html><html><head><title>Guest Wi-Fi</title></head><body>Please accept our terms</body></html>"
NOT_FOUND = (
    b"<!doctype html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The URL was not found on the server.</p>"
)
NOT_ALLOWED = b"<!doctype html>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>"
BAD_REQUEST = b"<!doctype html>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n<p>Function declared as json</p>"
SERVER_ERROR = b"<!doctype html>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>"
