"""Forms of one's own account."""

from __future__ import annotations

from wtforms import PasswordField, RadioField, SelectField, StringField
from wtforms.validators import DataRequired, EqualTo, Length

from webapp.core.passwords import LONGEST, SHORTEST
from webapp.web.forms.base import Form

THEME_CHOICES = {"auto": "As the system", "light": "Light", "dark": "Dark"}
_NEW = {"autocomplete": "new-password"}


class PasswordForm(Form):
    """The current password and a new one."""

    current_password = PasswordField(
        "Current password", [DataRequired("Enter your password.")], render_kw={"autocomplete": "current-password"}
    )
    new_password = PasswordField(
        "New password",
        [DataRequired("Choose a password.")],
        description=f"{SHORTEST} to {LONGEST} characters of any kind. You will be signed out everywhere else.",
        render_kw=_NEW,
    )
    repeated = PasswordField(
        "New password again", [EqualTo("new_password", "The two passwords are not the same.")], render_kw=_NEW
    )


class PreferencesForm(Form):
    """How a user wants to see things."""

    display_name = StringField("Your name", [Length(max=128)], render_kw={"autocomplete": "name"})
    theme = RadioField("Colours", choices=THEME_CHOICES)
    time_zone = SelectField("Time zone", description="In which times are shown to you. Jobs keep their own.")


class ThemeForm(Form):
    """The switch in the page head."""

    theme = RadioField("Colours", choices=THEME_CHOICES)
