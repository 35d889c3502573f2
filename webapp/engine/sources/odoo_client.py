"""The questions one may ask an Odoo over HTTP, each with its answer read and its refusal translated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from webapp.core.errors import SourceError
from webapp.core.plans import NO_SECRET, OdooHttpPlan
from webapp.core.status import ErrorCode
from webapp.engine.connections import Target, target_of
from webapp.engine.http import HttpLimits, Request, Response, request
from webapp.engine.report import Reporter
from webapp.engine.sources.odoo_answers import (
    DISABLED_HINT,
    PAGE_BYTES,
    ManagerPage,
    plain_text,
    read_manager_page,
    redirected,
    refusal,
)

_SMALL_SECONDS = 120.0
_SMALL_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OdooVersion:
    """Which Odoo answers: as it says itself, and its major number."""

    text: str
    major: int


class OdooClient:
    """One Odoo, reached as its plan says. No cookie, no session; the master password goes into ``backup`` only."""

    def __init__(self, plan: OdooHttpPlan, limits: HttpLimits) -> None:
        self.plan = plan
        self.limits = limits

    def target(self) -> Target:
        """Where to ask. Raises SourceError(plain_http_refused) before anything is connected, loopback included."""
        target = target_of(self.plan.url, host_header=self.plan.host_header, tls=self.plan.tls)
        if target.scheme == "http" and not self.plan.tls.allow_plain_http:
            raise SourceError(
                f"{target.place} would receive the master password unencrypted.",
                hint=(
                    "Use an https:// URL, or allow plain http for this instance if the network between is yours alone."
                ),
                code=ErrorCode.PLAIN_HTTP_REFUSED,
                permanent=True,
            )
        return target

    def version(self, reporter: Reporter) -> OdooVersion | None:
        """Which Odoo this is; None when it does not say (the route may be closed). Network failures raise."""
        try:
            result = self._call("/web/webclient/version_info", reporter)
        except SourceError as error:
            if error.code is not ErrorCode.HTTP_ERROR:
                raise
            reporter.log(f"Odoo's version is unknown. {error.message}")
            return None
        text = plain_text(str(result.get("server_version", "")), 40) if isinstance(result, dict) else ""
        match = re.search(r"\d+", text)
        return OdooVersion(text, int(match.group()[:4])) if match else None

    def databases(self, reporter: Reporter) -> list[str]:
        """Names that Odoo shows for this Host header, sorted."""
        result = self._call("/web/database/list", reporter)
        if not isinstance(result, list) or not all(isinstance(name, str) for name in result):
            raise _strange("/web/database/list", json.dumps(result))
        return sorted(result)

    def manager(self, reporter: Reporter) -> ManagerPage:
        """The manager's page, read without posting anything. Raises SourceError when something else answers."""
        status, headers, body = self._small(Request("GET", "/web/database/manager"), reporter)
        page = read_manager_page(body)
        if status == 200 and (page.recognised or page.disabled):
            return page
        error = refusal(status, headers, body, self.plan.master_password)
        raise SourceError(
            "Holdfast could not read /web/database/manager, which tells whether a master password is set. "
            f"{error.message}",
            hint=error.hint,
            code=error.code,
            permanent=error.permanent,
        )

    def backup(
        self, fields: Mapping[str, str], reporter: Reporter, *, largest_bytes: int
    ) -> AbstractContextManager[Response]:
        """Ask for a backup: the only request that carries the master password. Ask only after ``require_safe``."""
        form = urlencode({"master_pwd": self.plan.master_password.reveal(), **fields}).encode()
        asked = Request("POST", "/web/database/backup", form, {"Content-Type": "application/x-www-form-urlencoded"})
        return request(self.target(), asked, reporter, limits=replace(self.limits, largest_body_bytes=largest_bytes))

    def _call(self, path: str, reporter: Reporter) -> Any:
        """One of Odoo's JSON routes with empty arguments; its ``result``."""
        asked = Request("POST", path, b"{}", {"Content-Type": "application/json"})
        status, headers, body = self._small(asked, reporter)
        if 300 <= status < 400:
            raise redirected(status, headers)
        if status != 200:
            raise refusal(status, headers, body, NO_SECRET)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise _strange(path, body[:PAGE_BYTES].decode("utf-8", "replace")) from None
        if isinstance(answer, dict) and "result" in answer:
            return answer["result"]
        raise _json_error(path, answer)

    def _small(self, asked: Request, reporter: Reporter) -> tuple[int, Mapping[str, str], bytes]:
        first_byte = min(self.limits.first_byte_seconds, _SMALL_SECONDS)
        limits = replace(self.limits, first_byte_seconds=first_byte, largest_body_bytes=_SMALL_BYTES)
        with request(self.target(), asked, reporter, limits=limits) as response:
            return response.status, response.headers, response.beginning(_SMALL_BYTES)


def require_safe(page: ManagerPage) -> None:
    """Raise SourceError unless the manager is enabled and a master password is set: only then may one be posted."""
    if page.disabled:
        raise SourceError(
            "Odoo's database manager is disabled.",
            hint=DISABLED_HINT,
            code=ErrorCode.DATABASE_MANAGER_DISABLED,
            permanent=True,
        )
    if page.insecure:
        raise SourceError(
            "This Odoo still has the default master password; nothing was sent to it.",
            hint=(
                "The first call with any password would make that one the new master password. Set your own at "
                "/web/database/manager (or admin_passwd in odoo.conf), then enter it here."
            ),
            code=ErrorCode.INSECURE_MASTER_PASSWORD,
            permanent=True,
        )


def _json_error(path: str, answer: Any) -> SourceError:
    error = answer.get("error") if isinstance(answer, dict) else None
    data = error.get("data") if isinstance(error, dict) else None
    if isinstance(data, dict) and str(data.get("name", "")).endswith("AccessDenied"):
        return SourceError(
            "Odoo does not list its databases: its database manager is disabled.",
            hint=DISABLED_HINT,
            code=ErrorCode.DATABASE_MANAGER_DISABLED,
            permanent=True,
        )
    return _strange(path, json.dumps(answer))


def _strange(path: str, text: str) -> SourceError:
    return SourceError(
        f"The answer to {path} is not Odoo's: {plain_text(text, 200) or 'it is empty'}.",
        hint="Check that the URL is Odoo's root and that no login, maintenance or firewall page stands before /web/.",
        code=ErrorCode.HTTP_ERROR,
    )
