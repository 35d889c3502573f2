"""Forms of the users page."""

from __future__ import annotations

from wtforms import HiddenField, PasswordField, RadioField, StringField
from wtforms.validators import DataRequired, Length

from webapp.core.passwords import LONGEST, SHORTEST
from webapp.core.status import Role
from webapp.web.forms.base import Form

ROLE_CHOICES = {role.value: role.value.capitalize() for role in Role}
_NEW = {"autocomplete": "new-password"}
_RULE = f"{SHORTEST} to {LONGEST} characters of any kind."


class NewUserForm(Form):
    """A user to be added."""

    username = StringField(
        "User name",
        [DataRequired("Choose a user name."), Length(max=64)],
        render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )
    display_name = StringField("Name", [Length(max=128)], render_kw={"autocomplete": "off"})
    role = RadioField("Role", choices=ROLE_CHOICES, default=Role.VIEWER.value)
    password = PasswordField("First password", [DataRequired("Choose a password.")], description=_RULE, render_kw=_NEW)


class UserForm(Form):
    """What can be changed of a user. ``version`` guards against two people saving over each other."""

    display_name = StringField("Name", [Length(max=128)], render_kw={"autocomplete": "off"})
    role = RadioField("Role", choices=ROLE_CHOICES)
    version = HiddenField()


class ResetPasswordForm(Form):
    """A new password given by an admin."""

    password = PasswordField("New password", [DataRequired("Choose a password.")], description=_RULE, render_kw=_NEW)
