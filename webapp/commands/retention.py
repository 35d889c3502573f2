"""``holdfast retention``."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from webapp.commands.base import Answer, Context, Parsers, add_noun, add_verb, moment, size, table
from webapp.commands.host_jobs import backup_jobs_of
from webapp.commands.host_shapes import get_host_named
from webapp.core.errors import Conflict, InvalidInput
from webapp.services import retention_by_hand, retention_holds
from webapp.services.jobs import get_job
from webapp.services.retention import MOST_DELETIONS, policy_of
from webapp.services.retention_clock import confirm_clock, find_clock_fault
from webapp.services.retention_pages import RetentionPage, retention_page

VERBS = ("plan", "apply", "freeze", "unfreeze", "confirm-clock", "host")


def register(parsers: Parsers) -> None:
    """Add the noun and its verbs."""
    verbs = add_noun(parsers, "retention", "what is kept and what goes")
    plan = add_verb(verbs, "plan", show_plan, "show what a job's retention would keep and drop now, and why")
    apply = add_verb(verbs, "apply", apply_plan, "put what the plan drops into the trash, the oldest first")
    apply.add_argument("--yes", action="store_true", help="really do it; without it nothing is changed")
    apply.add_argument(
        "--max-delete", type=int, default=MOST_DELETIONS, metavar="N", help="at most so many (default: 10)"
    )
    apply.add_argument("--digest", default="", help="refuse unless the plan is the one with this digest")
    host = add_verb(verbs, "host", plan_host, "the plans of all jobs of a host; with --apply and --yes apply them")
    host.add_argument("host", help="name, number or address; «holdfast retention HOST» is the same")
    host.add_argument("--apply", action="store_true", help="apply the plans instead of showing them")
    host.add_argument("--yes", action="store_true", help="with --apply: really do it")
    host.add_argument(
        "--max-delete", type=int, default=MOST_DELETIONS, metavar="N", help="at most so many (default: 10)"
    )
    freeze = add_verb(verbs, "freeze", freeze_job, "delete nothing of a job until a person lets it go on")
    freeze.add_argument("--reason", required=True, help="why, for whoever lets it go on")
    unfreeze = add_verb(verbs, "unfreeze", unfreeze_job, "let a job's retention go on")
    for verb in (plan, apply, freeze, unfreeze):
        verb.add_argument("--job", type=int, required=True, metavar="ID")
    clock = add_verb(verbs, "confirm-clock", confirm, "say that this machine's clock is right, after it was doubted")
    clock.add_argument("--yes", action="store_true", help="really do it; without it only the doubt is shown")


def show_plan(context: Context, arguments: Namespace) -> Answer:
    """What stays and what goes."""
    job = get_job(arguments.job)
    page = retention_page(job, context.now())
    return Answer(_shape(job.id, page), _text(page))


def apply_plan(context: Context, arguments: Namespace) -> Answer:
    """Apply the plan. Raises Conflict when its digest is not the one given, or it is frozen."""
    now = context.now()
    page = retention_page(get_job(arguments.job), now)
    if arguments.digest and arguments.digest != page.plan.digest:
        raise Conflict(
            f"The plan of job {arguments.job} has changed: its digest is {page.plan.digest}.",
            hint=f"Look at it again: holdfast retention plan --job {arguments.job}",
        )
    if not arguments.yes:
        raise InvalidInput(
            f"Nothing was changed: {len(page.plan.drop)} restore points would go into the trash.",
            hint="Add --yes to do it; --max-delete says how many at most.",
        )
    applied = retention_by_hand.apply_now(
        arguments.job, digest=page.plan.digest, most=arguments.max_delete, actor=context.actor, now=now
    )
    data = {"job_id": arguments.job, "trashed": list(applied.trashed), "remaining": applied.remaining}
    text = f"{len(applied.trashed)} restore points are in the trash now; {applied.remaining} more would go."
    return Answer({**data, "digest": applied.digest}, text)


def plan_host(context: Context, arguments: Namespace) -> Answer:
    """The plans of a host's jobs, shown; or applied one after the other, at most ``--max-delete`` in all."""
    found = backup_jobs_of(get_host_named(arguments.host).instance_id)
    now = context.now()
    pages = [(job.id, job.name, retention_page(job, now)) for job in found]
    if not arguments.apply:
        texts = [f"Job {number}, {name}\n{_text(page)}" for number, name, page in pages]
        return Answer([_shape(number, page) for number, _, page in pages], "\n\n".join(texts) or "It has no jobs yet.")
    if not arguments.yes:
        due = sum(len(page.plan.drop) for _, _, page in pages)
        raise InvalidInput(
            f"Nothing was changed: {due} snapshots would go into the trash.",
            hint="Add --yes to do it; --max-delete says how many at most.",
        )
    return _apply_pages(context, pages, arguments.max_delete)


def _apply_pages(context: Context, pages: list[tuple[int, str, RetentionPage]], most: int) -> Answer:
    if most < 1:
        raise InvalidInput("At least one restore point has to be meant.", field="most")
    data, texts = [], []
    for number, name, page in pages:
        trashed: tuple[int, ...] = ()
        remaining = len(page.plan.drop)
        if most and remaining:
            done = retention_by_hand.apply_now(
                number, digest=page.plan.digest, most=most, actor=context.actor, now=context.now()
            )
            trashed, remaining, most = done.trashed, done.remaining, most - len(done.trashed)
        data.append({"job_id": number, "trashed": list(trashed), "remaining": remaining})
        texts.append(f"Job {number}, {name}: {len(trashed)} snapshots are in the trash now; {remaining} more would go.")
    return Answer(data, "\n".join(texts) or "It has no jobs yet.")


def freeze_job(context: Context, arguments: Namespace) -> Answer:
    """Freeze it."""
    job = retention_holds.freeze(arguments.job, arguments.reason, actor=context.actor, now=context.now())
    return Answer(_frozen_shape(job), f"Retention of {job.name} is frozen.")


def unfreeze_job(context: Context, arguments: Namespace) -> Answer:
    """Let it go on."""
    seen = get_job(arguments.job).retention_frozen_reason
    job = retention_holds.unfreeze(arguments.job, seen_reason=seen, actor=context.actor, now=context.now())
    return Answer(_frozen_shape(job), f"Retention of {job.name} goes on.")


def confirm(context: Context, arguments: Namespace) -> Answer:
    """Believe the clock from here on."""
    now = context.now()
    fault = find_clock_fault(now)
    if fault and not arguments.yes:
        raise InvalidInput(fault, hint="Add --yes when this machine's clock is right now.")
    if fault:
        confirm_clock(actor=context.actor, now=now)
    said = "The clock is believed from here on." if fault else "Nobody doubts the clock."
    return Answer({"doubt": fault, "now": moment(now)}, said)


def _shape(job_id: int, page: RetentionPage) -> dict[str, Any]:
    plan = page.plan
    keep = [
        {
            "archive_id": kept.point.archive_id,
            "database": kept.point.database,
            "taken_at": moment(kept.point.taken_at),
            "size_bytes": kept.point.size_bytes,
            "reasons": list(kept.reasons),
            "until": moment(kept.until),
        }
        for kept in plan.keep
    ]
    drop = [
        {
            "archive_id": gone.point.archive_id,
            "database": gone.point.database,
            "taken_at": moment(gone.point.taken_at),
            "size_bytes": gone.point.size_bytes,
            "reason": gone.reason,
        }
        for gone in (plan.drop or plan.held)
    ]
    return {
        "job_id": job_id,
        "policy": page.policy.as_json(),
        "frozen": plan.frozen,
        "waiting": list(page.waiting),
        "digest": plan.digest,
        "freed_bytes": plan.freed_bytes,
        "keep": keep,
        "drop": [] if plan.frozen else drop,
        "held": drop if plan.frozen else [],
    }


def _text(page: RetentionPage) -> str:
    plan = page.plan
    gone = [("held" if plan.frozen else "drop", d.point, d.reason) for d in (plan.drop or plan.held)]
    stays = [("keep", k.point, "; ".join(k.reasons)) for k in plan.keep if k.point not in [g.point for g in plan.held]]
    rows = [
        (word, point.archive_id, point.database, f"{point.taken_at:%Y-%m-%d %H:%M}", size(point.size_bytes), why)
        for word, point, why in (*gone, *stays)
    ]
    heads = ["", "ARCHIVE", "DATABASE", "TAKEN (UTC)", "SIZE", "WHY"]
    return "\n".join(
        [
            f"Kept: {page.policy.in_words()}.",
            *([f"Frozen: {plan.frozen}"] if plan.frozen else []),
            *page.waiting,
            "",
            table(heads, rows, none="There are no archives yet."),
            "",
            f"Digest: {plan.digest}",
        ]
    )


def _frozen_shape(job: Any) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "frozen_at": moment(job.retention_frozen_at),
        "reason": job.retention_frozen_reason,
        "policy": policy_of(job).as_json(),
    }
