"""Signing in and out, and giving the password again before something dangerous."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.status import Role
from webapp.services import sessions, setup
from webapp.services.sessions import SignInRefused, Visitor
from webapp.services.throttle import TooManyTries
from webapp.web import cookies
from webapp.web.access import current_actor, permission, public, request_time, signed_in
from webapp.web.forms.auth import ReauthenticateForm, SignInForm
from webapp.web.htmx import see_other
from webapp.web.next_page import safe_next

bp = Blueprint("auth", __name__)


@bp.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    """The form; the setup instead while nobody is set up."""
    if signed_in():
        return see_other(_next())
    if setup.is_open():
        return see_other("setup.show")
    return render_template("auth/sign_in.html", form=SignInForm(formdata=None), next=_next())


@bp.post("/sign-in")
@public
def submit_sign_in() -> ResponseReturnValue:
    """Open a session. A session that was open in this browser is closed: its token is never taken over."""
    form = SignInForm()
    if not form.is_good():
        return render_template("auth/sign_in.html", form=form, next=_next()), 422
    try:
        token = sessions.sign_in(form.username.data, form.password.data, visitor(), now=request_time())
    except (SignInRefused, TooManyTries) as error:
        return _refused("auth/sign_in.html", form, error)
    _close_current()
    return cookies.give_session(make_response(redirect(_next(), 303)), token)


@bp.post("/sign-out")
@permission(Role.VIEWER)
def sign_out() -> ResponseReturnValue:
    """Close the session and tell the browser to forget what it kept of us."""
    _close_current()
    return cookies.take_session(make_response(redirect("/sign-in", 303)))


@bp.get("/reauthenticate")
@permission(Role.VIEWER)
def reauthenticate() -> ResponseReturnValue:
    """Ask for the password again."""
    return render_template("auth/reauthenticate.html", form=ReauthenticateForm(formdata=None), next=_next())


@bp.post("/reauthenticate")
@permission(Role.VIEWER)
def submit_reauthenticate() -> ResponseReturnValue:
    """The session counts as fresh again, under a new token."""
    form = ReauthenticateForm()
    person = signed_in()
    if person is None or not form.is_good():
        return render_template("auth/reauthenticate.html", form=form, next=_next()), 422
    try:
        token = sessions.reauthenticate(person.session_id, form.password.data, visitor(), now=request_time())
    except (SignInRefused, TooManyTries) as error:
        return _refused("auth/reauthenticate.html", form, error)
    return cookies.give_session(make_response(redirect(_next(), 303)), token)


def visitor() -> Visitor:
    """Where this request comes from."""
    return Visitor(request.remote_addr or "", request.user_agent.string)


def _next() -> str:
    return safe_next(request.values.get("next"))


def _close_current() -> None:
    person = signed_in()
    if person is not None:
        sessions.sign_out(person.session_id, actor=current_actor(), now=request_time())


def _refused(
    template: str, form: SignInForm | ReauthenticateForm, error: SignInRefused | TooManyTries
) -> ResponseReturnValue:
    form.form_errors.append(error.message)
    response = make_response(render_template(template, form=form, next=_next()), 401)
    if isinstance(error, TooManyTries):
        response.status_code = 429
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response
