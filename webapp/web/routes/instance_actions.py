"""What can be done with an instance: test, pause, mute, duplicate, delete, pin a host key; several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.core.errors import HoldfastError, InvalidInput
from webapp.core.status import Role
from webapp.services import connection_tests, instance_keys, instances, jobs
from webapp.web.access import current_actor, permission, request_time, requires_recent_sign_in
from webapp.web.forms import instances as form
from webapp.web.htmx import see_other, toast

bp = Blueprint("instance_actions", __name__)


@bp.post("/instances/<int:instance_id>/test")
@permission(Role.OPERATOR)
def test(instance_id: int) -> ResponseReturnValue:
    """Test the connection."""
    connection_tests.request_connection_test(instance_id, actor=current_actor(), now=request_time())
    return _back(instance_id, "connection")


@bp.post("/instances/<int:instance_id>/back-up")
@permission(Role.OPERATOR)
def back_up(instance_id: int) -> ResponseReturnValue:
    """Run every enabled job of the instance now."""
    tasks = jobs.run_all(instance_id, actor=current_actor(), now=request_time())
    toast(f"Started: {', '.join(task.title for task in tasks[:3])}.", "run")
    return see_other("instances.show", instance_id=instance_id)


@bp.get("/instances/<int:instance_id>/pause")
@permission(Role.OPERATOR)
def pause_form(instance_id: int) -> ResponseReturnValue:
    """Ask for how long, and why."""
    return _dialog("instances/pause.html", instance_id)


@bp.post("/instances/<int:instance_id>/pause")
@permission(Role.OPERATOR)
def pause(instance_id: int) -> ResponseReturnValue:
    """Pause all its jobs."""
    now = request_time()
    try:
        until = form.read_until(request.form, now)
    except InvalidInput as error:
        return _dialog("instances/pause.html", instance_id, error)
    paused = instances.pause_instance(
        instance_id, reason=request.form.get("reason", ""), until=until, actor=current_actor(), now=now
    )
    toast(f"Paused {paused.name}. Nothing starts until it is resumed.")
    return see_other("instances.show", instance_id=instance_id)


@bp.post("/instances/<int:instance_id>/resume")
@permission(Role.OPERATOR)
def resume(instance_id: int) -> ResponseReturnValue:
    """Let its jobs start again."""
    resumed = instances.resume_instance(instance_id, actor=current_actor(), now=request_time())
    toast(f"Resumed {resumed.name}.")
    return see_other("instances.show", instance_id=instance_id)


@bp.get("/instances/<int:instance_id>/mute")
@permission(Role.OPERATOR)
def mute_form(instance_id: int) -> ResponseReturnValue:
    """Ask for how long, and why."""
    return _dialog("instances/mute.html", instance_id)


@bp.post("/instances/<int:instance_id>/mute")
@permission(Role.OPERATOR)
def mute(instance_id: int) -> ResponseReturnValue:
    """Be silent about its problems for a while."""
    now = request_time()
    try:
        until = form.read_until(request.form, now, needed=True)
        assert until is not None
        muted = instances.mute_instance(
            instance_id, reason=request.form.get("reason", ""), until=until, actor=current_actor(), now=now
        )
    except InvalidInput as error:
        return _dialog("instances/mute.html", instance_id, error)
    toast(f"Muted {muted.name}. Its backups go on.")
    return see_other("instances.show", instance_id=instance_id)


@bp.post("/instances/<int:instance_id>/unmute")
@permission(Role.OPERATOR)
def unmute(instance_id: int) -> ResponseReturnValue:
    """Speak about its problems again."""
    instances.unmute_instance(instance_id, actor=current_actor(), now=request_time())
    return see_other("instances.show", instance_id=instance_id)


@bp.post("/instances/<int:instance_id>/duplicate")
@permission(Role.ADMIN)
@requires_recent_sign_in
def duplicate(instance_id: int) -> ResponseReturnValue:
    """A copy, ready to be edited."""
    copy = instances.duplicate_instance(instance_id, actor=current_actor(), now=request_time())
    toast(f"Made {copy.name}. Its jobs are switched off until you enable them.")
    return see_other("instances.edit", instance_id=copy.id)


@bp.get("/instances/<int:instance_id>/delete")
@permission(Role.ADMIN)
@requires_recent_sign_in
def delete_form(instance_id: int) -> ResponseReturnValue:
    """Say what deleting means, and ask for the name."""
    return _dialog("instances/delete.html", instance_id)


@bp.post("/instances/<int:instance_id>/delete")
@permission(Role.ADMIN)
@requires_recent_sign_in
def delete(instance_id: int) -> ResponseReturnValue:
    """Delete it; archives and history stay."""
    name = instances.get_instance(instance_id).name
    typed = request.form.get("typed_name", "")
    try:
        instances.delete_instance(instance_id, typed_name=typed, actor=current_actor(), now=request_time())
    except HoldfastError as error:
        status = 422 if isinstance(error, InvalidInput) else 409
        return _dialog("instances/delete.html", instance_id, error, status=status)
    toast(f"Deleted {name}. Its archives and history stay.")
    return see_other("instances.list")


@bp.post("/instances/<int:instance_id>/host-key/scan")
@permission(Role.ADMIN)
def scan_host_key(instance_id: int) -> ResponseReturnValue:
    """Show the key that the SSH host presents now, for a person to compare."""
    instance = instances.get_instance(instance_id)
    context: dict[str, Any] = {"instance": instance, "pinned": instance_keys.pinned_host_key(instance)}
    try:
        key = instance_keys.scan(instance_id)
    except HoldfastError as error:
        return make_response(render_template("instances/host_key.html", error=error, key=None, **context), 502)
    return render_template("instances/host_key.html", error=None, key=key, **context)


@bp.post("/instances/<int:instance_id>/host-key")
@permission(Role.ADMIN)
@requires_recent_sign_in
def pin_host_key(instance_id: int) -> ResponseReturnValue:
    """Pin the key that was compared."""
    line = request.form.get("host_key", "")[:2048]
    instance_keys.pin_host_key(instance_id, line, actor=current_actor(), now=request_time())
    toast("Pinned the host key.")
    return see_other("instances.settings", instance_id=instance_id)


def _dialog(template: str, instance_id: int, error: HoldfastError | None = None, *, status: int = 422) -> Response:
    instance = instances.get_instance(instance_id)
    body = render_template(template, instance=instance, error=error, hours=form.PAUSE_HOURS)
    return make_response(body, status if error is not None else 200)


def _back(instance_id: int, anchor: str) -> ResponseReturnValue:
    return see_other(url_for("instances.show", instance_id=instance_id, _anchor=anchor))


@bp.post("/instances/bulk")
@permission(Role.OPERATOR)
def bulk() -> ResponseReturnValue:
    """Back up, pause or resume the ticked instances; each is done by itself, and each refusal is told."""
    action = _BULK.get(request.form.get("action", ""))
    chosen = [int(text) for text in request.form.getlist("instance") if text.isascii() and text.isdigit()][:200]
    if action is None or not chosen:
        toast("Nothing was ticked, so nothing was done.", "warn")
        return see_other("instances.list")
    verb, act = action
    refused = []
    for instance_id in chosen:
        try:
            act(instance_id)
        except HoldfastError as error:
            refused.append(error.message)
    done = len(chosen) - len(refused)
    toast(f"{verb} {done} of {len(chosen)} instances. {' '.join(refused[:3])}".strip(), "warn" if refused else "ok")
    return see_other("instances.list")


def _pause_one(instance_id: int) -> None:
    instances.pause_instance(instance_id, reason="", until=None, actor=current_actor(), now=request_time())


def _resume_one(instance_id: int) -> None:
    instances.resume_instance(instance_id, actor=current_actor(), now=request_time())


def _back_up_one(instance_id: int) -> None:
    jobs.run_all(instance_id, actor=current_actor(), now=request_time())


_BULK: dict[str, tuple[str, Callable[[int], None]]] = {
    "back_up": ("Started backups of", _back_up_one),
    "pause": ("Paused", _pause_one),
    "resume": ("Resumed", _resume_one),
}
