"""The two calls that change an Odoo: restore and drop. Both carry the master password, to the host named and no further."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode
from webapp.engine.disk import disk_error
from webapp.engine.http import Request, Response, Upload, request
from webapp.engine.report import Reporter
from webapp.engine.sources.odoo_answers import PAGE_BYTES, alerts, refusal, without
from webapp.engine.sources.odoo_client import OdooClient

_BLOCK_BYTES = 256 * 1024
_DONE = "/web/database/manager"
_VERB = re.compile(r"^(Database (restore|deletion|drop) error:|Could not (restore|drop) database\.)\s*", re.IGNORECASE)
_LOG_HINT = "Odoo's log at this time tells the cause; disk space in its temporary directory is the usual one."


@dataclass(slots=True)
class Sending:
    """How far a restore's request got: once ``whole``, Odoo may work on it whatever happens to the connection."""

    whole: bool = False


def post_restore(
    client: OdooClient, fields: Mapping[str, str], archive_path: str, sending: Sending, reporter: Reporter
) -> None:
    """Send the archive and wait until Odoo says that it restored it. Call only after ``require_safe``.

    ``fields`` are the form's without the password. Raises SourceError: restore_failed, target_exists, auth_failed … for
    what Odoo answered; connection_lost, stalled, http_error when the answer never came, which tells nothing.
    """
    boundary = f"holdfast-{secrets.token_hex(16)}"
    form = {"master_pwd": client.plan.master_password.reveal(), **fields}
    head = b"".join(_field(boundary, name, value) for name, value in form.items()) + _file_head(boundary)
    tail = f"\r\n--{boundary}--\r\n".encode()
    with _opened(archive_path) as file:
        size = os.fstat(file.fileno()).st_size
        upload = Upload(len(head) + size + len(tail), _pieces(head, file, tail, sending, reporter))
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        asked = Request("POST", "/web/database/restore", headers=headers, upload=upload)
        with request(client.target(), asked, reporter, limits=client.limits) as response:
            _require_done(client, response, "restore the backup")


def post_drop(client: OdooClient, database: str, reporter: Reporter) -> None:
    """Ask Odoo to drop a database with its filestore. Call only after ``require_safe``. Raises SourceError."""
    form = urlencode({"master_pwd": client.plan.master_password.reveal(), "name": database}).encode()
    asked = Request("POST", "/web/database/drop", form, {"Content-Type": "application/x-www-form-urlencoded"})
    with request(client.target(), asked, reporter, limits=client.limits) as response:
        _require_done(client, response, f"drop {database}")


def _field(boundary: str, name: str, value: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file_head(boundary: str) -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="backup_file"; filename="backup.zip"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise disk_error(error, "open the archive") from error
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def _pieces(head: bytes, file: BinaryIO, tail: bytes, sending: Sending, reporter: Reporter) -> Iterator[bytes]:
    yield head
    total, done = os.fstat(file.fileno()).st_size, 0
    while done < total:
        try:
            block = file.read(min(_BLOCK_BYTES, total - done))
        except OSError as error:
            raise disk_error(error, "read the archive") from error
        if not block:
            raise SourceError("The archive became shorter while it was sent.", code=ErrorCode.TRUNCATED)
        yield block
        done += len(block)
        reporter.progress(done, total)
    # Set before the last bytes leave: from here on Odoo may have all of it.
    sending.whole = True
    reporter.progress(done, total, message="All is sent; Odoo loads it and says nothing meanwhile")
    yield tail


def _require_done(client: OdooClient, response: Response, action: str) -> None:
    """Odoo answers success with 303 to its manager, which is not followed, and failure with a page of any status."""
    path = urlsplit(response.headers.get("location", "")).path
    if response.status == 303 and path.rstrip("/") == _DONE:
        return
    body = response.beginning(PAGE_BYTES)
    secret = client.plan.master_password
    boxes = alerts(without(body.decode("utf-8", "replace"), secret))
    said = _VERB.sub("", boxes[-1]) if boxes else ""
    general = refusal(response.status, response.headers, body, secret)
    if not said or general.code in (ErrorCode.AUTH_FAILED, ErrorCode.DATABASE_MANAGER_DISABLED, ErrorCode.REDIRECTED):
        raise _too_large(general) if response.status == 413 else general
    if "already exists" in said.lower():
        raise SourceError(
            f"Odoo has such a database already, though it may not show it: {said}",
            hint="Choose another name. Odoo's dbfilter hides databases that do not fit the Host header.",
            code=ErrorCode.TARGET_EXISTS,
            permanent=True,
        )
    raise SourceError(f"Odoo could not {action}: {said}", hint=_LOG_HINT, code=ErrorCode.RESTORE_FAILED)


def _too_large(general: SourceError) -> SourceError:
    return SourceError(
        general.message,
        hint="A proxy limits uploads: raise client_max_body_size (nginx) for /web/database/restore.",
        code=general.code,
        permanent=True,
    )
