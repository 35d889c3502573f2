"""Users: list, add, change, deactivate, give a new password, end sessions. For admins, with a recent sign-in."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import Role
from webapp.services import sessions, users
from webapp.services.users import NewUser, UserRow
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in, signed_in
from webapp.web.forms.users import NewUserForm, ResetPasswordForm, UserForm
from webapp.web.htmx import see_other, toast

bp = Blueprint("users", __name__)


@bp.get("/users", endpoint="list")
@permission(Role.ADMIN)
def list_() -> ResponseReturnValue:
    """All users."""
    return render_template("users/list.html", users=users.list_users())


@bp.get("/users/new")
@permission(Role.ADMIN)
@requires_recent_sign_in
def new() -> ResponseReturnValue:
    """The form of a new user."""
    return render_template("users/new.html", form=NewUserForm(formdata=None))


@bp.post("/users/new")
@permission(Role.ADMIN)
@requires_recent_sign_in
def add() -> ResponseReturnValue:
    """Add a user."""
    form = NewUserForm()
    if not form.is_good():
        return render_template("users/new.html", form=form), 422
    wanted = NewUser(
        username=form.username.data,
        password=Secret(form.password.data),
        role=Role(form.role.data),
        display_name=form.display_name.data or "",
    )
    try:
        user = users.add_user(wanted, actor=current_actor(), now=request_time())
    except InvalidInput as error:
        form.refuse(error)
        return render_template("users/new.html", form=form), 422
    toast(f"{user.username} can sign in now.")
    return see_other("users.show", user_id=user.id)


@bp.get("/users/<int:user_id>")
@permission(Role.ADMIN)
def show(user_id: int) -> ResponseReturnValue:
    """One user, with the live sessions."""
    user = users.get_user(user_id)
    return _page(user, _form_of(user), ResetPasswordForm(formdata=None))


@bp.post("/users/<int:user_id>")
@permission(Role.ADMIN)
@requires_recent_sign_in
def change(user_id: int) -> ResponseReturnValue:
    """Change name and role."""
    form = UserForm()
    user = users.get_user(user_id)
    if not form.is_good() or not (form.version.data or "").isdigit():
        return _page(user, form, ResetPasswordForm(formdata=None)), 422
    changed = users.change_user(
        user_id,
        role=Role(form.role.data),
        display_name=form.display_name.data or "",
        version=int(form.version.data),
        actor=current_actor(),
        now=request_time(),
    )
    toast(
        f"{changed.username} is saved." if changed.role is user.role else f"{changed.username} is now {changed.role}."
    )
    return see_other("users.show", user_id=user_id)


@bp.post("/users/<int:user_id>/password")
@permission(Role.ADMIN)
@requires_recent_sign_in
def reset_password(user_id: int) -> ResponseReturnValue:
    """Give a new password; the user is signed out everywhere."""
    form = ResetPasswordForm()
    user = users.get_user(user_id)
    if not form.is_good():
        return _page(user, _form_of(user), form), 422
    try:
        users.reset_password(user_id, Secret(form.password.data), actor=current_actor(), now=request_time())
    except InvalidInput as error:
        form.refuse(error)
        return _page(user, _form_of(user), form), 422
    toast(f"{user.username} has a new password and is signed out everywhere.")
    return see_other("users.show", user_id=user_id)


@bp.post("/users/<int:user_id>/deactivate")
@permission(Role.ADMIN)
@requires_recent_sign_in
def deactivate(user_id: int) -> ResponseReturnValue:
    """No more signing in; every session ends."""
    users.deactivate_user(user_id, actor=current_actor(), now=request_time())
    toast("The user is deactivated and signed out everywhere.")
    return see_other("users.show", user_id=user_id)


@bp.post("/users/<int:user_id>/activate")
@permission(Role.ADMIN)
@requires_recent_sign_in
def activate(user_id: int) -> ResponseReturnValue:
    """Let a deactivated user sign in again."""
    users.activate_user(user_id, actor=current_actor(), now=request_time())
    toast("The user can sign in again.")
    return see_other("users.show", user_id=user_id)


@bp.post("/users/<int:user_id>/sessions/<int:session_id>/revoke")
@permission(Role.ADMIN)
def revoke_session(user_id: int, session_id: int) -> ResponseReturnValue:
    """End one session of this user."""
    sessions.revoke_session(session_id, user_id=user_id, actor=current_actor(), now=request_time())
    toast("The session has ended.")
    return see_other("users.show", user_id=user_id)


def _form_of(user: UserRow) -> UserForm:
    values = {"display_name": user.display_name, "role": user.role.value, "version": str(user.version)}
    return UserForm(formdata=None, data=values)


def _page(user: UserRow, form: UserForm, password_form: ResetPasswordForm) -> str:
    person = signed_in()
    return render_template(
        "users/show.html",
        user=user,
        form=form,
        password_form=password_form,
        sessions=sessions.list_sessions(user.id, now=request_time()),
        current_session_id=person.session_id if person else None,
    )
