"""Errors at the web door: each becomes one page, one fragment or one JSON answer, and is recorded once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound, QueueDown, StoreError
from webapp.core.status import ErrorCode
from webapp.services.throttle import TooManyTries
from webapp.web.headers import request_id

logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[HoldfastError], int], ...] = (
    (NotFound, 404),
    (InvalidInput, 422),
    (Conflict, 409),
    (TooManyTries, 429),
    (QueueDown, 503),
    (StoreError, 503),
)
_SENTENCES = {
    400: ("This request cannot be read", "Go back and try again."),
    401: ("Sign in first", "This page is for people who are signed in."),
    403: ("You may not do this", "Ask an administrator for the role that it needs."),
    404: ("There is nothing here", "The page was moved or deleted, or the address has a mistake."),
    405: ("This request cannot be read", "The page does not answer to this kind of request."),
    409: ("Somebody was faster", "Load the page again, then repeat what you wanted to do."),
    413: ("That is too large", "Send less at once."),
    415: ("This request cannot be read", "It has a form that this page does not take."),
    422: ("That cannot be used", "Go back and correct it."),
    429: ("Too many tries", "Wait a moment, then try again."),
    500: ("Something went wrong", "It has been recorded. Try again; if it stays, look for the request id in the log."),
    503: ("Not available now", "Try again in a moment."),
}


class ApiProblem(Exception):
    """A JSON answer for an API client: status, a stable word, a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Shown:
    """What an error page says."""

    status: int
    title: str
    message: str
    hint: str
    request_id: str


def set_up(app: Flask) -> None:
    """Attach the handlers."""
    app.register_error_handler(ApiProblem, _on_api_problem)
    app.register_error_handler(CSRFError, _on_csrf)
    app.register_error_handler(HoldfastError, _on_holdfast_error)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(Exception, _on_anything)


def _on_api_problem(problem: ApiProblem) -> Response:
    return _json(problem.status, problem.code, problem.message)


def _on_csrf(error: CSRFError) -> Response:
    logger.info("refused %s %s: %s", request.method, request.path, error.description)
    return _answer(
        403,
        "The page was open for too long",
        "Its form belongs to a session that has ended, or the request came from another site.",
        "Load the page again, then repeat what you wanted to do.",
        code="csrf_failed",
    )


def _on_holdfast_error(error: HoldfastError) -> Response:
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 500)
    if status >= 500:
        logger.warning("request %s: %s %s: %s", request_id(), request.method, request.path, error.message)
    title, hint = _SENTENCES[status]
    # An error that names no code of its own is called by its status: only a 500 is internal.
    code = "" if error.code is ErrorCode.INTERNAL and status != 500 else error.code.value
    response = _answer(status, title, error.message, error.hint or hint, code=code)
    if isinstance(error, TooManyTries):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _on_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return make_response(error.get_response())
    title, hint = _SENTENCES.get(status, _SENTENCES[500 if status >= 500 else 400])
    message = ""
    if status == 403 and error.description in ("viewer", "operator", "admin"):
        message = f"This needs the role {error.description}."
    elif status == 400 and request.path.startswith("/api/"):
        message = error.description or ""
    response = _answer(status, title, message, hint)
    for name in ("Allow", "Retry-After"):
        if value := dict(error.get_headers()).get(name):
            response.headers[name] = value
    return response


def _on_anything(error: Exception) -> Response:
    """The last resort: the log gets everything, the page a number to find it by."""
    logger.error("request %s failed: %s %s", request_id(), request.method, request.path, exc_info=error)
    title, hint = _SENTENCES[500]
    return _answer(500, title, "", hint, code="internal")


def _answer(status: int, title: str, message: str, hint: str, *, code: str = "") -> Response:
    if request.path.startswith("/api/"):
        return _json(status, code or HTTPStatus(status).phrase.lower().replace(" ", "_"), message or title, hint)
    shown = Shown(status, title, message, hint, request_id())
    g.bare_page = True
    try:
        body = render_template("errors/error.html", error=shown)
    except Exception:
        logger.exception("request %s: the error page failed too", request_id())
        body = f"{shown.status} {shown.title}. {shown.hint} Request {shown.request_id}.\n"
        return Response(body, status, mimetype="text/plain")
    return Response(body, status, mimetype="text/html")


def _json(status: int, code: str, message: str, hint: str = "") -> Response:
    body = {"error": code, "message": message, "hint": hint, "request_id": request_id()}
    response = jsonify(body)
    response.status_code = status
    return response
