"""The setup: the first admin, by the token that was printed where Holdfast was started."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.services import setup
from webapp.services.sessions import Visitor
from webapp.services.setup import FirstAdmin, SetupRefused
from webapp.services.throttle import TooManyTries
from webapp.web import cookies
from webapp.web.access import public, request_time
from webapp.web.forms.auth import SetupForm
from webapp.web.htmx import see_other

bp = Blueprint("setup", __name__)


@bp.get("/setup")
@public
def show() -> ResponseReturnValue:
    """The form, or how to find the link; signing in once the setup is over."""
    if not setup.is_open():
        return see_other("auth.sign_in")
    token = request.args.get("token", "")[:128]
    form = SetupForm(formdata=None, data={"token": token})
    return render_template("setup/show.html", form=form, valid=bool(token) and setup.is_setup_token(token))


@bp.post("/setup")
@public
def submit() -> ResponseReturnValue:
    """Make the first admin and sign in. Without the right token: 403."""
    form = SetupForm()
    token = (form.token.data or "")[:128]
    if not form.is_good():
        return render_template("setup/show.html", form=form, valid=True), 422
    admin = FirstAdmin(form.username.data, Secret(form.password.data), form.display_name.data or "")
    visitor = Visitor(request.remote_addr or "", request.user_agent.string)
    try:
        session_token = setup.complete_setup(token, admin, visitor, now=request_time())
    except InvalidInput as error:
        form.refuse(error)
        return render_template("setup/show.html", form=form, valid=True), 422
    except (SetupRefused, TooManyTries) as error:
        form.form_errors.append(f"{error.message} {error.hint}".strip())
        status = 429 if isinstance(error, TooManyTries) else 403
        return render_template("setup/show.html", form=form, valid=False), status
    return cookies.give_session(make_response(redirect("/", 303)), session_token)
