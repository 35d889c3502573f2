"""A second reading of docs/retention.md, written the slow and obvious way: which archives a policy may drop, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from webapp.core.retention import RetentionPoint, RetentionPolicy
from webapp.core.status import RetentionMode

FORMATS = {
    "hourly": "%Y-%m-%d %H %z",
    "daily": "%Y-%m-%d",
    "weekly": "%G-%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}


def droppable(policy: RetentionPolicy, points: Sequence[RetentionPoint], now: datetime) -> set[int]:
    """Ids of what may go, freezes by clocks and jobs left out of account."""
    alive = [point for point in points if point.state in ("stored", "quarantined")]
    if any(point.taken_at > now + timedelta(minutes=5) for point in alive):
        return set()
    return {
        point.archive_id
        for point in alive
        if may_go(policy, point, [o for o in alive if o.database == point.database], now)
    }


def may_go(policy: RetentionPolicy, one: RetentionPoint, here: Sequence[RetentionPoint], now: datetime) -> bool:
    """One archive's fate, looking at all others of its database each time."""
    if one.pinned or one.in_use or len(here) == 1:
        return False
    good = sorted(
        (p for p in here if p.verified and p.state == "stored" and not p.drill_failed),
        key=lambda p: (p.taken_at, p.archive_id),
    )
    tested = sorted((p for p in here if p.drilled), key=lambda p: (p.taken_at, p.archive_id))
    tested_and_good = [p for p in tested if p in good]
    if not good or one in good[-1:] or one in tested[-1:] or one in tested_and_good[-1:]:
        return False
    if one in good:
        return not any(one in kept for kept in kept_by_rules(policy, good, now))
    rules = kept_by_rules(policy, good, now)
    waits_for = (rules[0] if rules else []) or good[-1:]
    days = days_of(policy)
    old_enough = not days or one.taken_at < now - timedelta(days=days)
    return old_enough and all(p.taken_at > one.taken_at for p in waits_for)


def kept_by_rules(policy: RetentionPolicy, good: Sequence[RetentionPoint], now: datetime) -> list[list[RetentionPoint]]:
    """What each rule in use keeps of the good ones (oldest first); the finest rule first."""
    rules = policy.rules.as_json() if policy.rules is not None and policy.mode == RetentionMode.RULES else {}
    last = policy.value if policy.mode == RetentionMode.KEEP_LAST_N else rules.get("last", 0)
    found = []
    if last:
        found.append(list(good[-last:]))
    if days := days_of(policy):
        found.append([p for p in good if p.taken_at >= now - timedelta(days=days)])
    for name, form in FORMATS.items():
        if name in rules:
            newest = {p.taken_at.astimezone(ZoneInfo(policy.time_zone)).strftime(form): p for p in good}
            order = sorted(newest.values(), key=lambda p: (p.taken_at, p.archive_id))
            found.append(order[-rules[name] :])
    return found


def days_of(policy: RetentionPolicy) -> int:
    """The age that the policy knows, 0 for none."""
    if policy.mode == RetentionMode.RULES:
        return policy.rules.within_days if policy.rules is not None else 0
    return policy.value if policy.mode == RetentionMode.OLDER_THAN_DAYS else 0
