"""Access: who asks, what they may do, and the checks that every request passes before its view.

How to write a route (a route without a declared permission stops the start of the app)::

    from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
    from webapp.web.htmx import see_other

    @bp.post("/instances/<int:instance_id>/delete")
    @permission(Role.ADMIN)                # below the route; each role contains the ones before it
    @requires_recent_sign_in               # dangerous: the password within the last 10 minutes, else /reauthenticate
    def delete(instance_id: int) -> ResponseReturnValue:
        instances.delete(instance_id, actor=current_actor(), now=request_time())
        return see_other("instances.index")

- ``permission(role)`` and ``public`` only mark the view; ``guard`` (one before_request function) does the checking, in this
  order: foreign origin → who is it → declared permission → CSRF token → recent sign-in. Nobody writes a check in a view.
- Every POST needs the CSRF token: ``{{ csrf_token() }}`` in a hidden field "csrf_token", or the header X-CSRFToken.
- A request has at most 1 MiB; ``takes_files`` below ``permission`` lets a view take an upload, after the role was asked for.
- ``current_actor()``: username, role, ip, ``triggered_by`` ("manual:alice"). Services take it as ``actor``.
- ``request_time()``: the one reading of the clock of this request (aware UTC). Services take it as ``now``.
- In templates: ``can("operator")``, ``current_user`` (``.is_authenticated .username .display_name .role .time_zone .theme``).
- Mark the GET page of a dangerous form with ``requires_recent_sign_in`` too: then the password is asked for before the
  form is filled in, not after. A refused POST leads back to the page that it came from.
- Below "/api/" nobody is redirected: 401 and 403 are JSON. A role that is too low is 403 before anything is fetched, so
  it never tells whether an id exists; services raise ``NotFound`` (404) and ``Conflict`` (409).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from flask import Flask, abort, current_app, g, request, session
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError

from webapp.core.actors import ANONYMOUS, Actor
from webapp.core.status import Role
from webapp.services import audit, sessions
from webapp.services.sessions import SignedIn
from webapp.services.settings import AppSettings, get_settings
from webapp.services.wiring import wired
from webapp.web import cookies
from webapp.web.errors import ApiProblem
from webapp.web.htmx import is_htmx, leave_page
from webapp.web.next_page import safe_next, sign_in_url

RECENT = timedelta(minutes=10)
FORM_AROUND_A_FILE_BYTES = 64 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

View = TypeVar("View", bound=Callable[..., Any])
csrf = CSRFProtect()
login_manager = LoginManager()


@dataclass(frozen=True, slots=True)
class Declared:
    """What a view demands. ``role`` None: everybody, also without signing in."""

    role: Role | None
    recent: bool = False
    takes_files: bool = False


def permission(role: Role) -> Callable[[View], View]:
    """Declare that a view is for this role and those above it."""

    def mark(view: View) -> View:
        files = bool(view.__dict__.get("holdfast_files"))
        return _mark(view, Declared(role, recent=_is_recent(view), takes_files=files))

    return mark


def public(view: View) -> View:
    """Declare that a view is for everybody, also without signing in."""
    return _mark(view, Declared(None))


def requires_recent_sign_in(view: View) -> View:
    """Declare that a view needs the password to have been given within the last 10 minutes."""
    found = declared(view)
    view.__dict__["holdfast_recent"] = True
    return _mark(view, replace(found, recent=True)) if found else view


def takes_files(view: View) -> View:
    """Declare that a view takes a file as large as this installation allows; stands below ``permission``."""
    view.__dict__["holdfast_files"] = True
    return view


def declared(view: Callable[..., Any]) -> Declared | None:
    """What the view demands, or None when nobody said."""
    return cast(Declared | None, view.__dict__.get("holdfast_access"))


def _is_recent(view: Callable[..., Any]) -> bool:
    return bool(view.__dict__.get("holdfast_recent"))


def _mark(view: View, access: Declared) -> View:
    view.__dict__["holdfast_access"] = access
    return view


def set_up(app: Flask) -> None:
    """Attach the guard. Call ``refuse_undeclared`` after the last route."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # the guard asks at its place in the order
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # a token lives as long as the session it is bound to
    app.config["WTF_CSRF_SSL_STRICT"] = False  # the guard compares Sec-Fetch-Site and Origin, for http as well
    csrf.init_app(app)
    login_manager.session_protection = None  # type: ignore[assignment]
    login_manager.init_app(app)
    app.before_request(guard)
    app.jinja_env.globals["can"] = can


def refuse_undeclared(app: Flask) -> None:
    """Deny by default: stop the start when a route says nothing about who may use it."""
    silent = sorted(
        {rule.endpoint for rule in app.url_map.iter_rules() if not declared(app.view_functions[rule.endpoint])}
    )
    if silent:
        raise RuntimeError(f"routes without a declared permission: {', '.join(silent)}")


def request_time() -> datetime:
    """The time of this request: the clock is read once."""
    if "request_time" not in g:
        g.request_time = datetime.now(UTC)
    return cast(datetime, g.request_time)


def current_actor() -> Actor:
    """Who asks, as services want to know it."""
    address = request.remote_addr or ""
    person = signed_in()
    if person is None:
        return replace(ANONYMOUS, ip=address)
    trigger = "api" if _is_api() and not is_htmx() else "manual"
    return Actor(person.username, person.role, address, person.user_id, trigger)


def current_settings() -> AppSettings:
    """The settings in force, read once for this request."""
    if "holdfast_settings" not in g:
        g.holdfast_settings = get_settings()
    return cast(AppSettings, g.holdfast_settings)


def signed_in() -> SignedIn | None:
    """The session of this request, or None."""
    person: Any = current_user
    return cast(SignedIn, person._get_current_object()) if person.is_authenticated else None


def can(role: str) -> bool:
    """Whether the one who asks has at least this role. For templates."""
    person = signed_in()
    return person is not None and person.role.rank >= Role(role).rank


@login_manager.request_loader  # type: ignore[untyped-decorator]
def _load(_request: object) -> SignedIn | None:
    """The session that our cookie's token belongs to; revoked, idle and over-aged ones are nobody's."""
    token = cookies.session_token()
    if token is None:
        return None
    # What a page asks for by itself (its polling) is no sign that somebody sits in front of it.
    person = sessions.find_session(token, now=request_time(), counts=not is_htmx() or request.method != "GET")
    return person and replace(person, time_zone=person.time_zone or current_settings().time_zone)


def guard() -> ResponseReturnValue | None:
    """Every check, in order. None lets the request through."""
    _refuse_foreign_origin()
    _bind_csrf()
    if request.endpoint is None:
        return None
    access = declared(current_app.view_functions[request.endpoint])
    if access is None:
        abort(404)
    refused = _check_role(access)
    if refused is None:
        if access.takes_files:  # before the token is looked for, which reads the whole request
            request.max_content_length = wired().upload_limit_bytes + FORM_AROUND_A_FILE_BYTES
        _check_csrf()
        refused = _check_recent(access)
    return refused


def _refuse_foreign_origin() -> None:
    """Another site may not make this browser write here, whatever token it has."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise CSRFError("The request came from another site.")
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise CSRFError("The request came from another site.")


def _bind_csrf() -> None:
    """A signed-in browser's CSRF token is derived from its session, so another session's token never fits."""
    token = cookies.session_token()
    if token and signed_in():
        bound = cookies.derive("csrf", token)
        if session.get("csrf_token") != bound:
            session["csrf_token"] = bound


def _check_role(access: Declared) -> ResponseReturnValue | None:
    if access.role is None:
        return None
    person = signed_in()
    if person is None:
        return _ask_to_sign_in()
    if person.role.rank < access.role.rank:
        _record_denied(access.role)
        if _is_api():
            raise ApiProblem(403, "forbidden", f"This needs the {access.role} role.")
        abort(403, description=access.role.value)
    return None


def _check_csrf() -> None:
    if request.method not in SAFE_METHODS:
        csrf.protect()


def _check_recent(access: Declared) -> ResponseReturnValue | None:
    person = signed_in()
    if not access.recent or person is None or request_time() - person.authenticated_at < RECENT:
        return None
    if _is_api():
        raise ApiProblem(401, "reauthentication_required", "Enter your password again at /reauthenticate.")
    return leave_page(sign_in_url("auth.reauthenticate", _page_to_return_to()))


def _ask_to_sign_in() -> ResponseReturnValue:
    if _is_api():
        raise ApiProblem(401, "unauthorized", "Sign in first.")
    return leave_page(sign_in_url("auth.sign_in", _page_to_return_to()))


def _page_to_return_to() -> str:
    """The page itself for GET; for anything else the page it was sent from."""
    if request.method == "GET" and not is_htmx():
        return safe_next(request.full_path.removesuffix("?"))
    came_from = urlsplit(request.referrer or "")
    if came_from.netloc != request.host:
        return "/"
    return safe_next(came_from.path + (f"?{came_from.query}" if came_from.query else ""))


def _record_denied(role: Role) -> None:
    audit.record_alone(
        current_actor(),
        "access.denied",
        subject_kind="page",
        subject_name=request.path[:160],
        details={"method": request.method, "needs": role.value},
        now=request_time(),
    )


def _is_api() -> bool:
    return request.path.startswith("/api/")
