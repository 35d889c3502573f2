"""A small real HTTP server that answers as Odoo does on /web/database/*, faults included.

In a test: ``with OdooLike(version="17.0") as odoo: odoo.url``. As a process: ``python -m tests.support.odoo_like
--port 0``
prints ``listening http://127.0.0.1:PORT`` and serves until it is told to stop.
"""

from __future__ import annotations

import argparse
import json
import re
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support import http_faults, odoo_pages, odoo_restores
from tests.support.http_faults import Answer, Sender
from tests.support.odoo_zip import odoo_zip
from tests.support.web_server import AnsweringServer, Recorded

HTML = (("Content-Type", "text/html; charset=utf-8"), ("Set-Cookie", "session_id=0123456789abcdef; Path=/; HttpOnly"))
JSON = (("Content-Type", "application/json; charset=utf-8"),)
DEV = "dev"


@dataclass
class Database:
    """One database the server knows: what a backup of it answers with."""

    zip_bytes: bytes
    custom_bytes: bytes = b"PGDMP\x01\x0e\x00" + b"custom format, opaque to the server\n" * 200
    zip_without_filestore: bytes = b""


@dataclass(frozen=True)
class Restored:
    """One accepted upload."""

    name: str
    content: bytes
    form: Mapping[str, str]


@dataclass
class OdooLike:
    """The server and its knobs; every knob may be turned while it runs.

    Attributes:
        version: "15.0" … "19.0", or "dev" for the development branch (real 4xx statuses).
        master_password: The password now in force; "admin" is the insecure default, which the first POST replaces.
        list_db: Off disables the database manager and the list.
        dbfilter: As in odoo.conf: a regular expression in which %d and %h come from the Host header.
        workers: Prefork transport: HTTP/1.0 without length. Off (and never in 17.0): HTTP/1.1 chunked.
        backup: How the body of a good backup is sent; None for the honest way.
        overrides: Path → Sender that answers whatever is asked there.
        backup_error: What Odoo's own dump fails with, or "".
        restore_fault: One of the faults in ``odoo_restores``, or "".
        drop_error: What dropping fails with, or "".
    """

    version: str = "18.0"
    master_password: str = "correct horse"
    list_db: bool = True
    dbfilter: str = ""
    workers: bool = True
    databases: dict[str, Database] = field(default_factory=lambda: {"prod": Database(odoo_zip("prod"))})
    backup: Sender | None = None
    overrides: dict[str, Sender] = field(default_factory=dict)
    backup_error: str = ""
    restore_fault: str = ""
    drop_error: str = ""
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    restored: list[Restored] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = AnsweringServer(self, port=self.port, tls=self.tls)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def insecure(self) -> bool:
        """Whether the default master password is in force."""
        return self.master_password == "admin"

    def posts(self, path: str = "/web/database/backup") -> list[Recorded]:
        """POSTs that arrived at ``path``."""
        return [r for r in self.requests if r.method == "POST" and r.path == path]

    def saw(self, text: str) -> bool:
        """Whether ``text`` arrived anywhere in any request, plain or percent-encoded."""
        return any(
            text in str(r.form) or text.encode() in r.body or text in str(r.headers) or text in r.path
            for r in self.requests
        )

    def visible(self, host: str) -> list[str]:
        """Databases that the filter leaves for this Host header."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        first = name.removeprefix("www.").partition(".")[0]
        pattern = self.dbfilter.replace("%h", re.escape(name)).replace("%d", re.escape(first))
        return sorted(d for d in self.databases if not pattern or re.match(pattern, d))

    def answer(self, request: Recorded) -> tuple[Answer, Sender]:
        """What the server says to a request, and how it sends it."""
        if request.path in self.overrides:
            return Answer(), self.overrides[request.path]
        route = _ROUTES.get(request.path)
        if route is None:
            return Answer(404, HTML, odoo_pages.NOT_FOUND), http_faults.with_length
        return route(self, request)

    def page(self, request: Recorded, error: str = "", status: int = 200, manage: bool = True) -> tuple[Answer, Sender]:
        """The database manager, with an error or without."""
        databases = self.visible(request.host) if self.list_db else []
        body = odoo_pages.manager_page(
            databases=databases, list_db=self.list_db, insecure=self.insecure, error=error, manage=manage
        )
        return Answer(status, HTML, body), http_faults.with_length

    def failure(self, request: Recorded, verb: str, text: str, status: int = 422) -> tuple[Answer, Sender]:
        """A refused call: HTML with status 200, or a real status on the development branch."""
        if self.version == DEV:
            return self.page(request, f"Could not {verb} database. {text}", status)
        return self.page(request, f"Database {verb} error: {text}")

    def admit(self, request: Recorded) -> bool:
        """Odoo's check of the master password, default takeover included (E7)."""
        given = request.form.get("master_pwd", "")
        if self.version == DEV and not self.list_db:
            return False
        if self.insecure and given:
            self.master_password = given
        return given == self.master_password and self.list_db


Route = Callable[[OdooLike, Recorded], tuple[Answer, Sender]]


def _json_answer(payload: Mapping[str, Any]) -> tuple[Answer, Sender]:
    return Answer(200, JSON, json.dumps({"jsonrpc": "2.0", "id": None, **payload}).encode()), http_faults.with_length


def _is_json(request: Recorded) -> bool:
    return request.method == "POST" and request.headers.get("content-type", "").startswith("application/json")


def _list(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    if not _is_json(request):
        return Answer(400, HTML, odoo_pages.BAD_REQUEST), http_faults.with_length
    if odoo.list_db:
        return _json_answer({"result": odoo.visible(request.host)})
    data = {
        "name": "odoo.exceptions.AccessDenied",
        "debug": "Traceback …",
        "message": "Access Denied",
        "arguments": ["Access Denied"],
    }
    return _json_answer({"error": {"code": 200, "message": "Odoo Server Error", "data": data}})


def _version(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    if not _is_json(request):
        return Answer(400, HTML, odoo_pages.BAD_REQUEST), http_faults.with_length
    serie = "19.1" if odoo.version == DEV else odoo.version
    major, minor = (int(part) for part in serie.split("."))
    shown = f"{serie}a1" if odoo.version == DEV else serie
    info = [major, minor, 0, "alpha" if odoo.version == DEV else "final", 1 if odoo.version == DEV else 0, ""]
    return _json_answer(
        {"result": {"server_version": shown, "server_version_info": info, "server_serie": serie, "protocol_version": 1}}
    )


def _manager(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    return odoo.page(request)


def _selector(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    return odoo.page(request, manage=False)


def _backup(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    if request.method != "POST":
        return Answer(405, HTML, odoo_pages.NOT_ALLOWED), http_faults.with_length
    if "name" not in request.form or "master_pwd" not in request.form:
        return Answer(500, HTML, odoo_pages.SERVER_ERROR), http_faults.with_length
    if not odoo.admit(request):
        return odoo.failure(request, "backup", "Access Denied", 403)
    name, form = request.form["name"], request.form
    is_zip = form.get("backup_format", "zip") == "zip"
    known = name in odoo.visible(request.host)
    if not known and odoo.version not in ("15.0", "16.0", "17.0"):
        return odoo.failure(request, "backup", f"Database {name!r} is not known")
    if odoo.backup_error or not known:
        return _dump_failed(odoo, request, is_zip)
    return Answer(200, _backup_headers(odoo, name, is_zip), _backup_body(odoo, form, is_zip)), odoo.backup or _honest(
        odoo
    )


def _dump_failed(odoo: OdooLike, request: Recorded, is_zip: bool) -> tuple[Answer, Sender]:
    """A zip says so in a page; the custom format is an empty body, status 200, as nobody checks pg_dump."""
    name = request.form["name"]
    text = (
        odoo.backup_error
        or f"Command '['pg_dump', '--no-owner', '--file=/tmp/t/dump.sql', '{name}']' returned non-zero exit status 1."
    )
    if is_zip or odoo.version == DEV:
        return odoo.failure(request, "backup", text)
    return Answer(200, _backup_headers(odoo, name, is_zip), b""), _honest(odoo)


def _backup_headers(odoo: OdooLike, name: str, is_zip: bool) -> tuple[tuple[str, str], ...]:
    suffix = "zip" if is_zip else "dump"
    kind = "application/zip" if odoo.version == DEV and is_zip else "application/octet-stream; charset=binary"
    disposition = f"attachment; filename*=UTF-8''{name}_2026-11-22_05-30-37.{suffix}"
    return (("Content-Type", kind), ("Content-Disposition", disposition), HTML[1])


def _backup_body(odoo: OdooLike, form: Mapping[str, str], is_zip: bool) -> bytes:
    database = odoo.databases[form["name"]]
    if not is_zip:
        return database.custom_bytes
    knows_filestore = odoo.version in ("19.0", DEV)
    if knows_filestore and form.get("filestore", "true").lower() in ("false", "0", "no", "off"):
        return database.zip_without_filestore or odoo_zip(form["name"], with_filestore=False)
    return database.zip_bytes


def _honest(odoo: OdooLike) -> Sender:
    return http_faults.prefork if odoo.workers or odoo.version == "17.0" else http_faults.threaded


def _restore(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    """As Odoo does: password, then the name (taken, though not whether it is a good one), a database, then the archive."""
    form = request.form
    if odoo.restore_fault == odoo_restores.TOO_LARGE:
        return Answer(413, HTML, b"<h1>413 Request Entity Too Large</h1>"), http_faults.with_length
    if not odoo.admit(request):
        return odoo.failure(request, "restore", "Access Denied", 403)
    name = form.get("name", "")
    if name in odoo.databases:
        return odoo.failure(request, "restore", "Database already exists")
    content = form.get("backup_file", "").encode("latin-1")
    fields = {key: value for key, value in form.items() if key not in ("backup_file", "master_pwd")}
    odoo.restored.append(Restored(name, content, fields))
    odoo.databases[name] = Database(b"")
    if odoo.restore_fault == odoo_restores.LEFT_BEHIND:
        return odoo.failure(request, "restore", "could not connect to server")
    try:
        odoo.databases[name] = _restored(odoo, form, content)
    except odoo_restores.BadUpload as error:
        return odoo.failure(request, "restore", str(error))
    if odoo.restore_fault == odoo_restores.GATEWAY_TIMEOUT:
        return Answer(504, HTML, odoo_pages.NGINX_504), http_faults.with_length
    answer, honest = _see_manager()
    return answer, http_faults.empty_reply if odoo.restore_fault == odoo_restores.CONNECTION_LOST else honest


def _restored(odoo: OdooLike, form: Mapping[str, str], content: bytes) -> Database:
    if content.startswith(b"PGDMP"):
        if odoo.version == DEV:
            raise odoo_restores.BadUpload("File is not a zip file")
        return Database(odoo_zip(form["name"], with_filestore=False), custom_bytes=content)
    return Database(odoo_restores.restored_zip(content, form, odoo.version, odoo.restore_fault))


def _drop(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    if not odoo.admit(request):
        return odoo.failure(request, "drop", "Access Denied", 403)
    if odoo.drop_error:
        return odoo.failure(request, "drop", odoo.drop_error)
    odoo.databases.pop(request.form.get("name", ""), None)
    return _see_manager()


def _duplicate(odoo: OdooLike, request: Recorded) -> tuple[Answer, Sender]:
    if not odoo.admit(request):
        return odoo.failure(request, "duplicate", "Access Denied", 403)
    source = odoo.databases.get(request.form.get("name", ""))
    if source is None:
        return odoo.failure(request, "duplicate", "no such database")
    odoo.databases[request.form["new_name"]] = source
    return _see_manager()


def _see_manager() -> tuple[Answer, Sender]:
    return Answer(303, (*HTML, ("Location", "/web/database/manager"))), http_faults.with_length


_ROUTES: dict[str, Route] = {
    "/web/database/list": _list,
    "/web/webclient/version_info": _version,
    "/web/database/manager": _manager,
    "/web/database/selector": _selector,
    "/web/database/backup": _backup,
    "/web/database/restore": _restore,
    "/web/database/drop": _drop,
    "/web/database/duplicate": _duplicate,
    "/web/login": lambda odoo, request: (Answer(200, HTML, odoo_pages.LOGIN), http_faults.with_length),
}


def main(argv: list[str]) -> None:
    """Serve until standard input or the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", default="18.0")
    parser.add_argument("--master-password", default="correct horse")
    parser.add_argument(
        "--database", action="append", default=None, help="name, or name=archive.zip; may be given more than once"
    )
    parser.add_argument("--no-list-db", action="store_true")
    parser.add_argument("--dbfilter", default="")
    parser.add_argument("--cut-at", type=int, default=None, help="end every backup cleanly after so many bytes")
    given = parser.parse_args(argv)
    databases = {}
    for entry in given.database or ["prod"]:
        name, _, path = entry.partition("=")
        databases[name] = Database(_read(path) if path else odoo_zip(name, version=given.version))
    odoo = OdooLike(
        version=given.version,
        master_password=given.master_password,
        list_db=not given.no_list_db,
        dbfilter=given.dbfilter,
        databases=databases,
        backup=None if given.cut_at is None else http_faults.cut(given.cut_at),
        port=given.port,
    )
    with odoo:
        print(f"listening {odoo.url}", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    main(sys.argv[1:])
