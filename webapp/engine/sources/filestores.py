"""The filestores there are, listed by hand."""

from __future__ import annotations

from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.engine.sources.filestore import Filestore, LocalFilestore
from webapp.engine.sources.filestore_ssh import SshFilestore


def filestore_of(plan: FilestorePlan, database: str) -> Filestore:
    """The filestore of one database. Raises SourceError when the plan is not complete."""
    if plan.kind is FilestoreKind.LOCAL:
        return LocalFilestore(plan, database)
    if plan.kind is FilestoreKind.SSH and plan.ssh is not None:
        return SshFilestore(plan, plan.ssh, database)
    raise SourceError(
        "The filestore of this instance is not set.", code=ErrorCode.INVALID_CONFIGURATION, permanent=True
    )
