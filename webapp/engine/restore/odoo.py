"""A restore through Odoo's own /web/database/restore, with what Odoo does not check checked here.

Known of Odoo 15.0 to 19.0: it answers success with data missing; a failed restore leaves its database behind; the field
``neutralize_database`` says yes whatever it holds; names are not checked; a filestore directory that was left over is not
replaced; while the master password is the default, the first call with any password would replace it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from webapp.core.errors import ArchiveError, HoldfastError, InvalidInput, SourceError, TaskStopped
from webapp.core.plans import OdooHttpPlan
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetReport
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.engine.evidence import Evidence
from webapp.engine.http import USUAL_LIMITS, HttpLimits
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.restore import odoo_look
from webapp.engine.restore.journal import Journal, is_anothers
from webapp.engine.restore.odoo_calls import Sending, post_drop, post_restore
from webapp.engine.restore.odoo_compare import compare, taken_back, work_directory
from webapp.engine.restore.proof import prove
from webapp.engine.sources.odoo_client import OdooClient, require_safe

_POLL_SECONDS = 0.5
# How long after a lost connection Odoo may take until the database that it makes shows in its list.
PATIENCE_SECONDS = 15.0


@dataclass(slots=True)
class _Made:
    """What is known of the database that Odoo makes. ``surely``: Odoo said that it made it, so it is ours, seen or not."""

    sending: Sending = field(default_factory=Sending)
    surely: bool = False


def check(plan: RestorePlan, reporter: Reporter, *, limits: HttpLimits = USUAL_LIMITS) -> TargetReport:
    """See ``checks.look_at_target``. The master password is not sent."""
    return odoo_look.look(plan, _client(plan, limits), reporter)


def run(
    plan: RestorePlan,
    journal: Journal,
    reporter: Reporter,
    *,
    limits: HttpLimits = USUAL_LIMITS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> RestoreResult:
    """See ``run.run``.

    1. Verify the archive. 2. Ask Odoo: the same as in the check, no such database, a master password is set. 3. Send.
    4. The database is in Odoo's list. 5. A backup of it is compared with the archive. When any of this fails, the database
    that was made is dropped through Odoo, and the error says what differed.
    """
    _, evidence = prove(plan, reporter)
    client = _client(plan, limits)
    reporter.step("connect", "Ask Odoo", client.target().place)
    odoo_look.require_ready(plan, client, reporter)
    made = _Made()
    try:
        journal(_entry(plan, "post"))
        reporter.step("send", "Send the archive to Odoo", plan.database)
        post_restore(client, odoo_look.form_of(plan), plan.archive_path, made.sending, reporter)
        made.surely = True
        journal(_entry(plan, "made"))
        _require_listed(plan, client, reporter)
        checks = _checks(plan, client, evidence, reporter)
        journal(_entry(plan, "done"))
    except BaseException as error:
        if not is_anothers(error) and (made.surely or not _refused_before_making(error)):
            _undo(plan, client, made, patience_seconds)
        raise
    return RestoreResult(
        RestoreOutcome.CREATED,
        tuple(checks),
        tables=len(plan.manifest.table_rows or {}),
        rows=plan.manifest.row_total or 0,
        files=plan.manifest.attachment_count or 0,
        message=f"Odoo restored {plan.database} at {client.target().place}",
    )


def settle(plan: RestorePlan, reporter: Reporter, *, limits: HttpLimits = USUAL_LIMITS) -> RestoreResult:
    """See ``settle.settle``: a database that was not proved to be whole is dropped."""
    shutil.rmtree(work_directory(plan), ignore_errors=True)
    step = plan.journal.get("step")
    if not step:
        return RestoreResult(RestoreOutcome.UNTOUCHED, message="Nothing was sent to Odoo.")
    client = _client(plan, limits)
    if step == "done":
        return RestoreResult(RestoreOutcome.CREATED, message=f"Odoo restored {plan.database}")
    require_safe(client.manager(reporter))
    _drop_if_ours(plan, client, reporter, surely=step == "made")
    return RestoreResult(RestoreOutcome.UNTOUCHED, message=f"Odoo has no database {plan.database}.")


def _client(plan: RestorePlan, limits: HttpLimits) -> OdooClient:
    if not isinstance(plan.odoo, OdooHttpPlan):
        raise InvalidInput("No Odoo was named that the backup goes to.")
    return OdooClient(plan.odoo, limits)


def _entry(plan: RestorePlan, step: str) -> Mapping[str, str]:
    assert plan.odoo is not None  # asked by _client
    return {"step": step, "database": plan.database, "url": plan.odoo.url}


def _require_listed(plan: RestorePlan, client: OdooClient, reporter: Reporter) -> None:
    reporter.step("find", "Look for the database", plan.database)
    if plan.database not in client.databases(reporter):
        raise SourceError(
            f"Odoo says that it restored {plan.database}, but does not show it in its list.",
            hint="Its dbfilter looks at the Host header: choose a name that fits, or set the instance's Host header.",
            code=ErrorCode.RESTORE_FAILED,
            permanent=True,
        )


def _checks(plan: RestorePlan, client: OdooClient, evidence: Evidence, reporter: Reporter) -> list[Check]:
    """What was found of the result. Raises ArchiveError for the first check that failed."""
    if not (plan.options.compare_after or plan.options.neutralise):
        detail = "As asked, the result was not compared. Odoo says yes also when data is missing."
        return [_not_compared(CheckState.SKIPPED, detail)]
    try:
        with taken_back(plan, client.plan, client.limits, reporter) as path:
            checks = compare(plan, path, evidence, reporter)
    except TaskStopped:
        raise
    except HoldfastError as error:
        if plan.options.neutralise:
            raise
        detail = f"Odoo restored the database, but no backup of it could be taken to compare: {error.message}"
        return [_not_compared(CheckState.WARNING, detail, error.hint)]
    for check in checks:
        reporter.log(f"{check.title}: {check.detail}", "error" if check.state is CheckState.FAILED else "good")
    for check in checks:
        if check.state is CheckState.FAILED:
            code = check.code or ErrorCode.RESTORE_DIFFERS
            raise ArchiveError(check.detail, hint=check.hint, code=code, permanent=True)
    return checks


def _not_compared(state: CheckState, detail: str, hint: str = "") -> Check:
    hint = hint or "Look at the database before you rely on it."
    code = ErrorCode.INCOMPLETE if state is CheckState.WARNING else None
    return Check("comparison", "Compared with the archive", state, detail, "not compared", hint, code)


def _refused_before_making(error: BaseException) -> bool:
    """Odoo said no before it made anything: a database of that name is then somebody else's."""
    codes = (ErrorCode.TARGET_EXISTS, ErrorCode.AUTH_FAILED, ErrorCode.DATABASE_MANAGER_DISABLED, ErrorCode.REDIRECTED)
    return isinstance(error, SourceError) and error.code in codes


def _undo(plan: RestorePlan, client: OdooClient, made: _Made, patience_seconds: float) -> None:
    """Drop what was made; a task that was stopped must still clear up, so it is not asked whether to go on."""
    reporter = SilentReporter()
    # Only where all of it was sent and no answer came may a database still appear.
    waiting = made.sending.whole and not made.surely
    deadline = time.monotonic() + (patience_seconds if waiting else 0.0)
    while plan.database not in client.databases(reporter) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _drop_if_ours(plan, client, reporter, surely=made.surely)


def _drop_if_ours(plan: RestorePlan, client: OdooClient, reporter: Reporter, *, surely: bool) -> None:
    """Drop a database that shows now and did not before, or that Odoo said it made.

    One that a filter hides and nobody told us of may be somebody else's, and is left alone. Raises SourceError when ours is
    still there afterwards.
    """
    if not surely and plan.database not in client.databases(reporter):
        return
    try:
        post_drop(client, plan.database, reporter)
    except SourceError as error:
        if plan.database in client.databases(reporter):
            raise _left(plan, error.message) from error
        return
    if plan.database in client.databases(reporter):
        raise _left(plan, "it is still in the list")


def _left(plan: RestorePlan, why: str) -> SourceError:
    return SourceError(
        f"Odoo has a half-made database {plan.database} that could not be dropped: {why}",
        hint="Drop it at /web/database/manager, then look whether its filestore directory is gone too.",
        code=ErrorCode.RESTORE_FAILED,
        permanent=True,
    )
