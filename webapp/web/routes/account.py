"""One's own account: password, sessions and preferences."""

from __future__ import annotations

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import sessions, users
from webapp.services.sessions import SignedIn, Visitor
from webapp.web import cookies
from webapp.web.access import current_actor, permission, request_time, signed_in
from webapp.web.forms.account import PasswordForm, PreferencesForm
from webapp.web.htmx import see_other, toast
from webapp.web.zones import zone_choices

bp = Blueprint("account", __name__)


@bp.get("/account")
@permission(Role.VIEWER)
def show() -> ResponseReturnValue:
    """Password, sessions and preferences."""
    return _page(PasswordForm(formdata=None), _preferences_form())


@bp.post("/account/password")
@permission(Role.VIEWER)
def change_password() -> ResponseReturnValue:
    """A new password ends every session, this browser's too; it goes on under a new token."""
    form = PasswordForm()
    person = _me()
    if not form.is_good():
        return _page(form, _preferences_form()), 422
    try:
        token = users.change_own_password(
            person.user_id,
            current=Secret(form.current_password.data),
            new=Secret(form.new_password.data),
            visitor=Visitor(request.remote_addr or "", request.user_agent.string),
            actor=current_actor(),
            now=request_time(),
        )
    except InvalidInput as error:
        form.refuse(error)
        return _page(form, _preferences_form()), 422
    response = cookies.give_session(make_response(redirect(url_for("account.show"), 303)), token)
    toast("Your password is changed. Every other browser is signed out.")
    return response


@bp.post("/account/sessions/<int:session_id>/revoke")
@permission(Role.VIEWER)
def revoke_session(session_id: int) -> ResponseReturnValue:
    """End one of one's own sessions."""
    sessions.revoke_session(session_id, user_id=_me().user_id, actor=current_actor(), now=request_time())
    toast("The session has ended.")
    return see_other("account.show")


@bp.post("/account/preferences")
@permission(Role.VIEWER)
def change_preferences() -> ResponseReturnValue:
    """Save the preferences."""
    form = PreferencesForm()
    form.time_zone.choices = zone_choices(with_default=True)
    if not form.is_good():
        return _page(PasswordForm(formdata=None), form), 422
    try:
        users.change_preferences(
            _me().user_id,
            display_name=form.display_name.data or "",
            theme=form.theme.data,
            time_zone=form.time_zone.data,
            actor=current_actor(),
            now=request_time(),
        )
    except InvalidInput as error:
        form.refuse(error)
        return _page(PasswordForm(formdata=None), form), 422
    toast("Saved.")
    return cookies.give_theme(make_response(see_other(url_for("account.show"))), form.theme.data)


def _me() -> SignedIn:
    """The one who is signed in."""
    return signed_in() or abort(401)


def _preferences_form() -> PreferencesForm:
    """The form filled with what the user has chosen."""
    user = users.get_user(_me().user_id)
    values = {"display_name": user.display_name, "theme": user.theme, "time_zone": user.time_zone}
    form = PreferencesForm(formdata=None, data=values)
    form.time_zone.choices = zone_choices(with_default=True)
    return form


def _page(password_form: PasswordForm, form: PreferencesForm) -> str:
    """The account page."""
    return render_template(
        "account/show.html",
        password_form=password_form,
        form=form,
        sessions=sessions.list_sessions(_me().user_id, now=request_time()),
        current_session_id=_me().session_id,
    )
