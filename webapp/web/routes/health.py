"""Is it alive, is it ready: for supervisors and load balancers. Open to everybody, so it says words, not addresses."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from webapp.services import health
from webapp.web.access import public, request_time

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@public
def alive() -> ResponseReturnValue:
    """200 while this process answers; asks nothing else."""
    return Response("ok\n", mimetype="text/plain")


@bp.get("/readyz")
@public
def ready() -> ResponseReturnValue:
    """200 when backups can run, else 503; each check's state either way."""
    report = health.glance(request_time())
    response = jsonify({"ready": report.ready, "checks": {check.key: check.state.value for check in report.checks}})
    response.status_code = 200 if report.ready else 503
    return response
