"""Settings of the installation. For admins."""

from __future__ import annotations

import platform
from importlib.metadata import version

from flask import Blueprint, current_app, render_template
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.status import Role
from webapp.services import health
from webapp.services.hosts import default_backup_root
from webapp.services.settings import change_settings, get_settings
from webapp.services.wiring import wired
from webapp.web.access import current_actor, permission, request_time
from webapp.web.forms.settings import SettingsForm
from webapp.web.htmx import see_other, toast
from webapp.web.zones import zone_choices

bp = Blueprint("settings", __name__)

PARTS = ("flask", "sqlalchemy", "rq", "rq-scheduler", "redis", "psycopg", "cryptography")


@bp.get("/settings")
@permission(Role.ADMIN)
def show() -> ResponseReturnValue:
    """Defaults, and what this installation is made of."""
    return _page(SettingsForm.of(get_settings(), zone_choices()))


@bp.post("/settings")
@permission(Role.ADMIN)
def change() -> ResponseReturnValue:
    """Save the settings."""
    form = SettingsForm.of(get_settings(), zone_choices())
    if not form.is_good():
        return _page(form), 422
    try:
        change_settings(form.values(), actor=current_actor(), now=request_time())
    except InvalidInput as error:
        form.refuse(error)
        return _page(form), 422
    toast("Settings saved.")
    return see_other("settings.show")


def _page(form: SettingsForm) -> str:
    return render_template(
        "settings/show.html",
        form=form,
        archive_directory=str(wired().archive_directory),
        data_directory=str(wired().data_directory),
        default_backup_root=str(wired().data_directory / "snapshots"),
        backup_root=default_backup_root(),
        health=health.glance(request_time()),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    own = {"Holdfast": current_app.config["HOLDFAST_VERSION"], "Python": platform.python_version()}
    return own | {name: version(name) for name in PARTS}
