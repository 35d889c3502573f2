"""The look at an Odoo before a restore through it: each question by itself, without the master password."""

from __future__ import annotations

import re
from collections.abc import Callable

from webapp.core.errors import HoldfastError, SourceError, TaskStopped
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, TargetFacts, TargetIdentity, TargetReport
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.core.text import format_size
from webapp.engine.report import Reporter
from webapp.engine.sources.odoo_client import OdooClient, OdooVersion, require_safe

# As Odoo's own forms want it (odoo/addons/web/controllers/database.py); its restore route does not check.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
_SERIES = re.compile(r"(?:saas[~-])?(\d+)(?:\.(\d+))?")
_NEUTRALISES_SINCE = 16
_ZIP_ONLY_SINCE = 20
# Odoo unpacks the upload, with the upload itself on the disk, and keeps the result.
_TIMES_AT_ODOO = 3


def form_of(plan: RestorePlan) -> dict[str, str]:
    """The fields of the form, without password and file. ``neutralize_database`` says yes whatever it holds."""
    fields = {"name": plan.database, "copy": "true" if plan.options.new_identity else "false"}
    if plan.options.neutralise:
        fields["neutralize_database"] = "true"
    return fields


def look(plan: RestorePlan, client: OdooClient, reporter: Reporter) -> TargetReport:
    """See ``checks.look_at_target``."""
    reporter.step("check", "Look at Odoo", client.plan.url)
    checks = [_archive_check(plan), _name_check(plan)]
    version: OdooVersion | None = None

    def ask_version() -> Check:
        nonlocal version
        version = client.version(reporter)
        return _version_check(plan, version)

    for key, title, question in (
        ("odoo_version", "Odoo fits the archive", ask_version),
        ("master_password", "Master password is set", lambda: _safe_check(client, reporter)),
        ("database_free", "Name is free", lambda: _free_check(plan, client, reporter)),
    ):
        reporter.check()
        checks.append(_asked(key, title, question))
    checks.append(_format_check(plan, version))
    if plan.options.neutralise:
        checks.append(_neutralise_check(version))
    checks.append(_room_check(plan))
    facts = TargetFacts(
        identity=TargetIdentity(client.plan.url, None),
        needed_bytes=plan.manifest.size_bytes * _TIMES_AT_ODOO,
        server_version=version.text if version else "",
    )
    return TargetReport(tuple(checks), facts)


def require_ready(plan: RestorePlan, client: OdooClient, reporter: Reporter) -> None:
    """Ask again right before sending. Raises SourceError; nothing was posted then."""
    if plan.identity is not None and plan.identity.system_identifier != client.plan.url:
        raise SourceError(
            f"The restore was prepared for {plan.identity.system_identifier}; the instance is {client.plan.url} now.",
            hint="Look at the target again.",
            code=ErrorCode.TARGET_CHANGED,
            permanent=True,
        )
    require_safe(client.manager(reporter))
    version = client.version(reporter)
    answers = [_archive_check(plan), _name_check(plan), _version_check(plan, version), _format_check(plan, version)]
    if plan.options.neutralise:
        answers.append(_neutralise_check(version))
    answers.append(_free_check(plan, client, reporter))
    for answer in answers:
        if answer.state is CheckState.FAILED:
            code = answer.code or ErrorCode.RESTORE_FAILED
            raise SourceError(answer.detail, hint=answer.hint, code=code, permanent=True)


def _asked(key: str, title: str, question: Callable[[], Check]) -> Check:
    try:
        return question()
    except TaskStopped:
        raise
    except HoldfastError as error:
        return Check(key, title, CheckState.FAILED, error.message, hint=error.hint, code=error.code)


def _archive_check(plan: RestorePlan) -> Check:
    title = "Archive is one of Odoo's"
    if not plan.manifest.is_odoo:
        detail = "The archive holds no Odoo database, and Odoo would not notice."
        return Check("archive", title, CheckState.FAILED, detail, code=ErrorCode.INVALID_CONFIGURATION)
    size = format_size(plan.manifest.size_bytes)
    return Check("archive", title, CheckState.PASSED, f"{size} will be sent.", size)


def _name_check(plan: RestorePlan) -> Check:
    title = "Name of the database"
    if _NAME.fullmatch(plan.database):
        return Check("database_name", title, CheckState.PASSED, f"{plan.database} is a name that Odoo takes.")
    detail = f"{plan.database[:80]!r} is no name that Odoo can work with."
    hint = "Use letters, digits, dots, dashes and underscores, at least two, a letter or digit first."
    return Check("database_name", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.INVALID_CONFIGURATION)


def _version_check(plan: RestorePlan, version: OdooVersion | None) -> Check:
    title, taken = "Odoo fits the archive", plan.manifest.versions.get("odoo", "")
    if version is None or not taken:
        detail = "Whether the archive's Odoo and this one have the same version is not known."
        hint = "Odoo restores an archive of another version without a word, and then does not work."
        return Check("odoo_version", title, CheckState.WARNING, detail, "unknown", hint, ErrorCode.INCOMPLETE)
    if _series(taken) != _series(version.text):
        detail = f"The archive is of Odoo {taken}, this is Odoo {version.text}."
        hint = "Restore to an Odoo of the same version, and upgrade there."
        code = ErrorCode.INVALID_CONFIGURATION
        return Check("odoo_version", title, CheckState.FAILED, detail, version.text, hint, code)
    return Check("odoo_version", title, CheckState.PASSED, f"Both are Odoo {taken}.", version.text)


def _series(text: str) -> tuple[int, int]:
    match = _SERIES.search(text)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _safe_check(client: OdooClient, reporter: Reporter) -> Check:
    require_safe(client.manager(reporter))
    detail = "Odoo's default is not in use. The password itself is tried by the restore, never by this check."
    return Check("master_password", "Master password is set", CheckState.PASSED, detail, "set")


def _free_check(plan: RestorePlan, client: OdooClient, reporter: Reporter) -> Check:
    title = "Name is free"
    if plan.database in client.databases(reporter):
        detail = f"Odoo has a database {plan.database} already; its own restore replaces none."
        hint = "Choose another name, or replace it through PostgreSQL."
        return Check("database_free", title, CheckState.FAILED, detail, "taken", hint, ErrorCode.TARGET_EXISTS)
    return Check("database_free", title, CheckState.PASSED, f"Odoo shows no database {plan.database}.", "free")


def _format_check(plan: RestorePlan, version: OdooVersion | None) -> Check:
    title = "Odoo takes the format"
    if plan.archive_format is ArchiveFormat.ZIP:
        return Check("format", title, CheckState.PASSED, "A zip, which every Odoo restores.", "zip")
    if version is not None and version.major >= _ZIP_ONLY_SINCE:
        detail = f"Odoo {version.text} restores zip archives only."
        return Check("format", title, CheckState.FAILED, detail, "custom", "", ErrorCode.INVALID_CONFIGURATION)
    detail = "A custom-format dump: Odoo hands it to pg_restore; there are no attachments in it."
    return Check("format", title, CheckState.PASSED, detail, "custom")


def _neutralise_check(version: OdooVersion | None) -> Check:
    title = "Odoo can neutralise"
    if version is not None and version.major >= _NEUTRALISES_SINCE:
        hint = "To keep scheduled actions from running in between, restore through PostgreSQL."
        detail = "It does so after the data is loaded; its scheduled actions may run a moment before."
        return Check("neutralise", title, CheckState.WARNING, detail, hint=hint)
    detail = f"{f'Odoo {version.text}' if version else 'An Odoo of unknown version'} does not neutralise on restore."
    hint = "Odoo does since 16.0. Restore through PostgreSQL, where Holdfast neutralises by itself."
    return Check("neutralise", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.NEUTRALISE_FAILED)


def _room_check(plan: RestorePlan) -> Check:
    size = format_size(plan.manifest.size_bytes * _TIMES_AT_ODOO)
    detail = f"Odoo needs about {size} in its temporary directory and filestore; it does not tell how much is free."
    return Check("temporary_space", "Room at Odoo", CheckState.SKIPPED, detail, "not measurable")
