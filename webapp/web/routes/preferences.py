"""The colours of the page: a switch in the page head, for everybody."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, make_response, request
from flask.typing import ResponseReturnValue

from webapp.services import users
from webapp.web import cookies
from webapp.web.access import current_actor, public, request_time, signed_in
from webapp.web.forms.account import ThemeForm
from webapp.web.htmx import see_other
from webapp.web.next_page import safe_next

bp = Blueprint("preferences", __name__)


@bp.post("/preferences/theme")
@public
def change_theme() -> ResponseReturnValue:
    """The switch in the page head. Works before signing in too; a user's choice is kept for other browsers."""
    form = ThemeForm()
    theme = form.theme.data if form.is_good() else "auto"
    person = signed_in()
    if person is not None:
        user = users.get_user(person.user_id)
        users.change_preferences(
            user.id,
            display_name=user.display_name,
            theme=theme,
            time_zone=user.time_zone,
            actor=current_actor(),
            now=request_time(),
        )
    return cookies.give_theme(make_response(see_other(_back())), theme)


def _back() -> str:
    came_from = urlsplit(request.referrer or "")
    if came_from.netloc != request.host:
        return "/"
    if came_from.path in ("/sign-in", "/setup"):
        return came_from.path
    return safe_next(came_from.path + (f"?{came_from.query}" if came_from.query else ""))
