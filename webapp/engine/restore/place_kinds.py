"""The places there are, listed by hand."""

from __future__ import annotations

from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.engine.restore.places import LocalPlace, Place
from webapp.engine.restore.places_ssh import SshPlace


def place_of(plan: FilestorePlan) -> Place:
    """Where the filestores of an instance land. Raises SourceError when the plan is not complete."""
    if plan.kind is FilestoreKind.LOCAL:
        return LocalPlace()
    if plan.kind is FilestoreKind.SSH and plan.ssh is not None:
        return SshPlace(plan.ssh)
    raise SourceError(
        "The filestore of this instance is not set.", code=ErrorCode.INVALID_CONFIGURATION, permanent=True
    )
