"""Forms of signing in, of the setup, and of asking for the password again. Passwords are taken as typed: never trimmed."""

from __future__ import annotations

from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import DataRequired, EqualTo, Length

from webapp.core.passwords import LONGEST, SHORTEST
from webapp.web.forms.base import Form

TOO_LONG = Length(max=1024, message="This is too long.")


class SignInForm(Form):
    """Name and password."""

    username = StringField(
        "User name",
        [DataRequired("Enter your user name."), TOO_LONG],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false", "autofocus": True},
    )
    password = PasswordField(
        "Password",
        [DataRequired("Enter your password."), TOO_LONG],
        render_kw={"autocomplete": "current-password"},
    )


class ReauthenticateForm(Form):
    """The password once more."""

    password = PasswordField(
        "Password",
        [DataRequired("Enter your password."), TOO_LONG],
        render_kw={"autocomplete": "current-password", "autofocus": True},
    )


class SetupForm(Form):
    """The first admin."""

    token = HiddenField("Setup token")
    username = StringField(
        "User name",
        [DataRequired("Choose a user name."), Length(max=64)],
        render_kw={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false", "autofocus": True},
    )
    display_name = StringField("Your name", [Length(max=128)], render_kw={"autocomplete": "name"})
    password = PasswordField(
        "Password",
        [DataRequired("Choose a password.")],
        description=f"{SHORTEST} to {LONGEST} characters of any kind. A sentence is easy to keep.",
        render_kw={"autocomplete": "new-password"},
    )
    repeated = PasswordField(
        "Password again",
        [EqualTo("password", "The two passwords are not the same.")],
        render_kw={"autocomplete": "new-password"},
    )
