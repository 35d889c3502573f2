"""Instances: the list, the page with its tabs, the form."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webapp.core.errors import InvalidInput
from webapp.core.reports import Check
from webapp.core.status import InstanceKind, Role
from webapp.services import (
    archives,
    connection_tests,
    host_pages,
    hosts,
    instance_history,
    instance_keys,
    instances,
    run_pages,
    snapshot_discovery,
)
from webapp.services.archives import ArchiveFilter
from webapp.services.drafts import StaleDraft
from webapp.services.fleet import STATE_WORDS, FleetState, get_fleet_row
from webapp.services.instance_rules import SSL_MODES, InstanceDraft, draft_of
from webapp.services.instance_search import find_instances
from webapp.web.access import current_actor, current_settings, permission, request_time, requires_recent_sign_in
from webapp.web.forms import instances as form
from webapp.web.forms.draft_state import FormState, overtaken, refused
from webapp.web.htmx import page_or_partial, see_other, toast
from webapp.web.tables import csv_response, page_number

bp = Blueprint("instances", __name__)
PAGE_LENGTH = 25
GLANCE_LENGTH = 12


@bp.get("/instances", endpoint="list")
@permission(Role.VIEWER)
def list_() -> ResponseReturnValue:
    """All instances, worst first; words and terms in ``q``, a chip in ``is``."""
    now = request_time()
    query, page = request.args.get("q", "")[:200], page_number()
    state = _state_asked()
    found = find_instances(query, state=state, offset=(page - 1) * PAGE_LENGTH, limit=PAGE_LENGTH, now=now)
    return page_or_partial(
        "instances/list.html",
        "rows",
        found=found,
        query=query,
        state=state,
        words=STATE_WORDS,
        page=page,
        page_length=PAGE_LENGTH,
        now=now,
    )


@bp.get("/instances.csv")
@permission(Role.VIEWER)
def export() -> ResponseReturnValue:
    """The same list as CSV."""
    found = find_instances(
        request.args.get("q", "")[:200], state=_state_asked(), offset=0, limit=5000, now=request_time()
    )
    head = (
        "name",
        "customer",
        "kind",
        "state",
        "newest_backup",
        "restore_points",
        "stored_bytes",
        "next_run",
        "problem",
    )
    rows = [
        (
            row.instance.name,
            row.instance.customer,
            row.instance.kind.value,
            row.state.value,
            row.newest_at,
            row.stored_count,
            row.stored_bytes,
            row.next_at,
            row.problem,
        )
        for row in found.rows
    ]
    return csv_response("instances.csv", head, rows)


@bp.get("/instances/<int:instance_id>")
@permission(Role.VIEWER)
def show(instance_id: int) -> ResponseReturnValue:
    """The overview of one instance."""
    now = request_time()
    which = request.args.get("which", "")
    return page_or_partial(
        "instances/show.html",
        "jobs",
        "history",
        "connection",
        **_head(instance_id, "overview", now),
        jobs=instance_history.list_job_rows(instance_id),
        history=instance_history.list_history(instance_id, which, limit=GLANCE_LENGTH),
        which=which,
        sizes=instance_history.list_sizes(instance_id, now),
        is_busy=instance_history.is_busy(instance_id),
        riding=host_pages.list_riding(instance_id),
        **_connection(instance_id),
    )


@bp.get("/instances/<int:instance_id>/restore-points")
@permission(Role.VIEWER)
def restore_points(instance_id: int) -> ResponseReturnValue:
    """What can be restored, newest first."""
    page = page_number()
    wanted = ArchiveFilter(instance_id=instance_id, offset=(page - 1) * 50, limit=50)
    head = _head(instance_id, "points", request_time())
    found, total = archives.list_archives(wanted)
    return render_template("instances/points.html", **head, archives=found, total=total, page=page)


@bp.get("/instances/<int:instance_id>/runs")
@permission(Role.VIEWER)
def runs(instance_id: int) -> ResponseReturnValue:
    """The newest 50 runs."""
    which = request.args.get("which", "")
    head = _head(instance_id, "runs", request_time())
    return render_template(
        "instances/runs.html", **head, history=instance_history.list_history(instance_id, which), which=which
    )


@bp.get("/instances/<int:instance_id>/jobs")
@permission(Role.VIEWER)
def jobs(instance_id: int) -> ResponseReturnValue:
    """Its jobs."""
    head = _head(instance_id, "jobs", request_time())
    return render_template("instances/jobs.html", **head, jobs=instance_history.list_job_rows(instance_id))


@bp.get("/instances/<int:instance_id>/settings")
@permission(Role.VIEWER)
def settings(instance_id: int) -> ResponseReturnValue:
    """How it is reached, in words; no secret among them."""
    head = _head(instance_id, "settings", request_time())
    return render_template(
        "instances/settings.html",
        **head,
        stored=instances.stored_secrets(head["instance"]),
        pinned=instance_keys.pinned_host_key(head["instance"]),
        authorized_keys=instance_keys.authorized_keys_line(head["instance"]),
        kinds=form.KIND_WORDS,
    )


@bp.get("/instances/new")
@permission(Role.ADMIN)
def new() -> ResponseReturnValue:
    """The empty form of a kind; without one, the choice between them."""
    kind = _kind_asked()
    if kind is None:
        return render_template("instances/choose.html", kinds=form.KIND_WORDS)
    draft = InstanceDraft(
        kind=kind.value,
        filestore_kind="local" if kind is InstanceKind.ODOO_POSTGRES else "none",
        database_selection="all" if kind is InstanceKind.ODOO_HTTP else "single",
        paths="/" if kind is InstanceKind.HOST else "",
    )
    return _form_page(draft, FormState())


@bp.post("/instances/new")
@permission(Role.ADMIN)
def create() -> ResponseReturnValue:
    """Add an instance, or show the form again with what is wrong."""
    draft = form.read_instance(request.form, request.form.get("kind", ""))
    actor, now = current_actor(), request_time()
    try:
        added = instances.create_instance(draft, actor=actor, now=now)
    except InvalidInput as error:
        return _form_page(draft, refused(error))
    if request.form.get("then") == "test":
        connection_tests.request_connection_test(added.id, actor=actor, now=now)
        toast(f"Added {added.name}. Its connection is being tested.")
    else:
        toast(f"Added {added.name}.")
    return see_other("instances.show", instance_id=added.id)


@bp.get("/instances/<int:instance_id>/edit")
@permission(Role.ADMIN)
@requires_recent_sign_in
def edit(instance_id: int) -> ResponseReturnValue:
    """The form with what is stored; secrets stay out of it."""
    instance = instances.get_instance(instance_id)
    return _form_page(draft_of(instance), FormState(version=instance.version), instance=instance)


@bp.post("/instances/<int:instance_id>/edit")
@permission(Role.ADMIN)
@requires_recent_sign_in
def update(instance_id: int) -> ResponseReturnValue:
    """Save. 422 with every refusal; 409 when another person saved in between, with a version that fits then."""
    instance = instances.get_instance(instance_id)
    draft = form.read_instance(request.form, instance.kind.value)
    version = form.read_version(request.form)
    try:
        saved = instances.update_instance(
            instance_id, draft, version=version, actor=current_actor(), now=request_time()
        )
    except StaleDraft as error:
        return _form_page(draft, overtaken(error), instance=instance)
    except InvalidInput as error:
        return _form_page(draft, refused(error, version), instance=instance)
    toast(f"Saved {saved.name}.")
    return see_other("instances.show", instance_id=instance_id)


def _head(instance_id: int, tab: str, now: datetime) -> dict[str, Any]:
    """What every tab of the page needs."""
    instance = instances.get_instance(instance_id)
    row = get_fleet_row(instance, now)
    return {
        "instance": instance,
        "row": row,
        "tab": tab,
        "now": now,
        "is_muted": instances.is_muted(instance, now),
        "outcome_of": run_pages.outcome_of,
        "seconds_of": run_pages.duration_seconds,
        "run_count": instance_history.list_history(instance_id, limit=1).all_count,
        **_host(instance, tab),
    }


def _host(instance: Any, tab: str) -> dict[str, Any]:
    """What the tabs of a host show beside."""
    if instance.kind is not InstanceKind.HOST or tab not in ("overview", "settings", "points"):
        return {}
    return {
        "facts": host_pages.get_host_facts(instance),
        "discovery": snapshot_discovery.newest_discovery(instance.id) if tab == "points" else None,
    }


def _connection(instance_id: int) -> dict[str, Any]:
    newest = connection_tests.find_newest_test(instance_id)
    checks = [Check.from_json(item) for item in newest.checks] if newest is not None else []
    return {"connection_test": newest, "checks": checks}


def _state_asked() -> FleetState | None:
    word = request.args.get("is", "")
    return FleetState(word) if word in tuple(FleetState) else None


def _kind_asked() -> InstanceKind | None:
    try:
        return InstanceKind(request.args.get("kind", ""))
    except ValueError:
        return None


def _form_page(draft: InstanceDraft, state: FormState, *, instance: Any = None) -> Response:
    body = render_template(
        "instances/edit.html",
        draft=draft,
        state=state,
        errors=state.errors,
        instance=instance,
        kinds=form.KIND_WORDS,
        kind=_known_kind(draft.kind),
        ssl_modes=SSL_MODES,
        stored=instances.stored_secrets(instance) if instance is not None else frozenset(),
        host_defaults={"settings": current_settings(), "backup_root": hosts.default_backup_root(current_settings())},
        found_databases=connection_tests.list_found_databases(instance.id) if instance is not None else [],
    )
    return make_response(body, state.status)


def _known_kind(word: str) -> InstanceKind:
    """The kind whose fields are shown, also when somebody sent nonsense."""
    return InstanceKind(word) if word in tuple(InstanceKind) else InstanceKind.ODOO_HTTP
