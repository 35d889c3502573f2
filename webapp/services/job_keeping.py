"""How a job's backups are kept and practised with: the fields of a draft, checked."""

from __future__ import annotations

from typing import Any

from webapp.core.cron import validate_zone
from webapp.core.errors import InvalidInput
from webapp.core.retention import RetentionPolicy, RetentionRules
from webapp.core.retention_rules import MAX_VALUE, RULE_NAMES
from webapp.core.status import DrillPolicy, RetentionMode
from webapp.services.drafts import DraftCheck
from webapp.services.job_drafts import JobDraft

MOST_CHECKS = 20
LONGEST_CHECK = 2000
ARROW = "=>"


def check_policy(check: DraftCheck, draft: JobDraft) -> RetentionPolicy | None:
    """The retention policy, or None with the refusals kept."""
    found = len(check.problems)
    mode = check.word("retention_mode", draft.retention_mode, RetentionMode, label="Retention")
    if mode is RetentionMode.RULES:
        return _check_rules(check, draft)
    value = check.number("retention_value", draft.retention_value, label="The number to keep", low=1, high=MAX_VALUE)
    return RetentionPolicy(mode, value) if len(check.problems) == found else None


def _check_rules(check: DraftCheck, draft: JobDraft) -> RetentionPolicy | None:
    found = len(check.problems)
    counts = {
        name: check.number(f"keep_{name}", text, label="The number to keep", low=0, high=MAX_VALUE)
        for name in RULE_NAMES
        if (text := getattr(draft, f"keep_{name}").strip())
    }
    if len(check.problems) > found:
        return None
    zone = DraftCheck().take(
        "time_zone", validate_zone, draft.time_zone.strip(), default="UTC"
    )  # refused by the schedule
    try:
        return RetentionPolicy(RetentionMode.RULES, rules=RetentionRules(**counts), time_zone=zone)
    except InvalidInput as error:
        check.refuse("keep_last", error.message, error.hint)
        return None


def policy_columns(policy: RetentionPolicy) -> dict[str, Any]:
    """The job's columns of a policy; a number that has no say is left as it is."""
    if policy.rules is not None:
        return {"retention_mode": policy.mode, "retention_rules": policy.rules.as_json()}
    return {"retention_mode": policy.mode, "retention_value": policy.value, "retention_rules": {}}


def check_drills(check: DraftCheck, draft: JobDraft) -> dict[str, Any]:
    """The columns that say when archives are restored for practice, and what is asked of them then."""
    policy = check.word("drill_policy", draft.drill_policy, DrillPolicy, label="Restore drills")
    value = check.number("drill_value", draft.drill_value or "7", label="Every how many", low=1, high=365)
    return {"drill_policy": policy, "drill_value": value, "drill_checks": _read_checks(check, draft.drill_checks)}


def _read_checks(check: DraftCheck, text: str) -> list[dict[str, str]]:
    """``SELECT … => answer``, one a line; empty lines are left out."""
    lines = [line.strip() for line in check.lines("drill_checks", text, label="The questions", most=20_000).split("\n")]
    found = []
    for number, line in enumerate((line for line in lines if line), 1):
        query, arrow, expected = (part.strip() for part in line.rpartition(ARROW))
        if not arrow or not query or not expected:
            check.refuse("drill_checks", f"Question {number} has no answer.", f"Write it as: SELECT … {ARROW} answer.")
        elif len(line) > LONGEST_CHECK:
            check.refuse("drill_checks", f"Question {number} is longer than {LONGEST_CHECK} characters.")
        found.append({"query": query, "expected": expected})
    if len(found) > MOST_CHECKS:
        check.refuse("drill_checks", f"There are more than {MOST_CHECKS} questions.")
    return found
