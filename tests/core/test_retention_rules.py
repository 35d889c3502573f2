"""Combined rules, what freezes a plan, and a policy replayed: by example, and against a second reading on random shelves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.retention_oracle import droppable
from webapp.core.retention import Guards, RetentionPlan, RetentionPoint, RetentionPolicy, plan_retention
from webapp.core.retention_guards import cap_of, judge_clock
from webapp.core.retention_history import replay_retention
from webapp.core.retention_rules import RULE_NAMES, Period, RetentionError, RetentionRules, start_after, stretch_of
from webapp.core.status import RetentionMode

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # a Sunday
BRUSSELS = "Europe/Brussels"


def rules(time_zone: str = "UTC", **counts: int) -> RetentionPolicy:
    return RetentionPolicy(RetentionMode.RULES, rules=RetentionRules(**counts), time_zone=time_zone)


def point(archive_id: int, taken_at: datetime, **changes: Any) -> RetentionPoint:
    values = {"database": "acme", "verified": True, "state": "stored", "size_bytes": 10, **changes}
    return RetentionPoint(archive_id=archive_id, taken_at=taken_at, **values)


def nightly(days: int, **changes: Any) -> list[RetentionPoint]:
    """Archive n was taken n days ago, at 02:30 UTC."""
    first = NOW.replace(hour=2, minute=30)
    return [point(n, first - timedelta(days=n), **changes) for n in range(days)]


def kept(plan: RetentionPlan) -> dict[int, tuple[str, ...]]:
    return {k.point.archive_id: k.reasons for k in plan.keep}


@pytest.mark.parametrize("name", RULE_NAMES)
@pytest.mark.parametrize("value", [-1, 36_501, 10**30, True, False, 1.0, "7", None])
def test_a_rule_that_is_no_sensible_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RetentionError):
        RetentionRules(**{"last": 1, name: value})


@pytest.mark.parametrize(
    "data", [{}, {"daily": 0}, dict.fromkeys(RULE_NAMES, 0), None, [], {"fortnightly": 2}, {"daily": "7"}]
)
def test_rules_that_keep_nothing_or_cannot_be_read_are_refused_at_run(data: Any) -> None:
    with pytest.raises(RetentionError):
        RetentionRules.from_json(data)


def test_the_mode_rules_needs_rules() -> None:
    with pytest.raises(RetentionError):
        RetentionPolicy(RetentionMode.RULES, 7)


def test_rules_come_back_from_json() -> None:
    assert RetentionRules.from_json({"daily": 7, "yearly": 1}).as_json() == {"daily": 7, "yearly": 1}
    assert RetentionRules(last=3, within_days=2, weekly=4).in_words() == "the last 3, all of 2 days, 4 weekly"


def test_each_archive_says_by_which_rules_it_stays() -> None:
    plan = plan_retention(rules(last=1, daily=3, weekly=2, monthly=2, yearly=2), nightly(60), NOW)

    assert kept(plan) == {
        0: ("the newest verified", "daily 2026-11-22", "weekly 2026-W47", "monthly 2026-11", "yearly 2026",
            "newest verified backup"),
        1: ("daily 2026-11-21",),
        2: ("daily 2026-11-20",),
        7: ("weekly 2026-W46",),
        22: ("monthly 2026-10",),
    }  # fmt: skip
    assert {d.reason for d in plan.drop} == {"wanted by no rule (the last 1, 3 daily, 2 weekly, 2 monthly, 2 yearly)"}


def test_it_says_until_when_a_rule_is_sure_to_keep() -> None:
    plan = plan_retention(rules(daily=3, weekly=4, monthly=12), nightly(60), NOW)
    until = {k.point.archive_id: (k.until, k.rule) for k in plan.keep}

    assert until[0] == (None, "")  # the next one may take its place
    assert until[1] == (datetime(2026, 11, 24, tzinfo=UTC), "daily")
    assert until[7] == (datetime(2026, 12, 7, tzinfo=UTC), "weekly")
    assert until[22] == (datetime(2027, 10, 1, tzinfo=UTC), "monthly")
    young = plan_retention(rules(within_days=10), nightly(3), NOW).keep[2]
    assert (young.until, young.rule) == (young.point.taken_at + timedelta(days=10), "within_days")


def test_days_begin_at_midnight_in_the_jobs_time_zone() -> None:
    late = [point(1, datetime(2026, 11, 21, 23, 30, tzinfo=UTC)), point(2, datetime(2026, 11, 21, 22, 30, tzinfo=UTC))]

    assert set(kept(plan_retention(rules(daily=5), late, NOW))) == {1}
    assert kept(plan_retention(rules(BRUSSELS, daily=5), late, NOW)) == {
        1: ("daily 2026-11-22", "newest verified backup"),
        2: ("daily 2026-11-21",),
    }


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    twice = [point(1, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), point(2, datetime(2026, 10, 25, 1, 30, tzinfo=UTC))]

    assert set(kept(plan_retention(rules(BRUSSELS, hourly=9), twice, NOW))) == {1, 2}


def test_periods_without_a_backup_use_up_nothing() -> None:
    gap = [point(1, NOW - timedelta(days=1)), point(2, NOW - timedelta(days=40)), point(3, NOW - timedelta(days=41))]

    assert set(kept(plan_retention(rules(daily=2), gap, NOW))) == {1, 2}


def test_far_away_periods_have_no_end_to_show() -> None:
    plan = plan_retention(rules(yearly=36_500, monthly=36_500), nightly(800), NOW)

    assert {k.until for k in plan.keep if k.rule == "yearly"} <= {None}
    assert start_after(Period.YEARLY, NOW, 36_500, zone()) is None
    assert len(plan.keep) == 27


def zone() -> Any:

    return ZoneInfo("UTC")


def test_what_failed_its_drill_counts_for_nothing_and_the_newest_that_passed_one_stays() -> None:
    points = [
        point(1, NOW - timedelta(days=1), drill_failed=True),
        point(2, NOW - timedelta(days=2)),
        point(3, NOW - timedelta(days=3), drill_failed=True),
        point(4, NOW - timedelta(days=4)),
        point(5, NOW - timedelta(days=5), drilled=True),
        point(6, NOW - timedelta(days=6), drilled=True),
    ]

    plan = plan_retention(RetentionPolicy(RetentionMode.KEEP_LAST_N, 1), points, NOW)

    assert set(kept(plan)) == {1, 2, 5}
    assert kept(plan)[5] == ("newest restore-tested backup",)
    assert {d.point.archive_id: d.reason for d in plan.drop}[3].startswith("failed its restore drill")


def test_a_frozen_job_and_a_clock_in_doubt_drop_nothing_and_show_what_would_go() -> None:
    policy, points = RetentionPolicy(RetentionMode.KEEP_LAST_N, 2), nightly(5)

    for guards in (
        Guards(frozen_reason="rows collapsed"),
        Guards(last_seen_at=NOW + timedelta(minutes=6)),
        Guards(last_seen_at=NOW - timedelta(days=3, minutes=1)),
    ):
        plan = plan_retention(policy, points, NOW, guards)
        assert plan.frozen
        assert plan.drop == ()
        assert {d.point.archive_id for d in plan.held} == {2, 3, 4}
        assert len(plan.keep) == 5
    assert plan_retention(policy, points, NOW, Guards(last_seen_at=NOW - timedelta(days=2))).frozen is None


@pytest.mark.parametrize(
    ("seen", "doubted"),
    [
        (None, False),
        (NOW, False),
        (NOW + timedelta(minutes=5), False),
        (NOW + timedelta(minutes=5, seconds=1), True),
        (NOW - timedelta(days=3), False),
        (NOW - timedelta(days=3, seconds=1), True),
        (NOW - timedelta(days=3650), True),
        (NOW + timedelta(days=3650), True),
    ],
)
def test_a_clock_is_doubted_when_it_went_back_or_leapt(seen: datetime | None, doubted: bool) -> None:
    assert bool(judge_clock(NOW, seen)) is doubted


def test_more_than_the_cap_waits_for_a_persons_word() -> None:
    policy = RetentionPolicy(RetentionMode.KEEP_LAST_N, 2)

    held = plan_retention(policy, nightly(13), NOW, Guards(allowance=0))
    agreed = plan_retention(policy, nightly(13), NOW, Guards(allowance=11))
    few = plan_retention(policy, nightly(12), NOW, Guards(allowance=0))

    assert (held.drop, len(held.held), held.frozen) == ((), 11, None)
    assert "11 of 13 restore points of acme" in held.capped[0]
    assert (len(agreed.drop), agreed.capped) == (11, ())
    assert len(few.drop) == 10
    assert (cap_of(49), cap_of(55), cap_of(100)) == (10, 11, 20)


def test_the_cap_is_each_databases_own() -> None:
    points = nightly(13) + [replace(p, archive_id=p.archive_id + 100, database="demo") for p in nightly(5)]

    plan = plan_retention(RetentionPolicy(RetentionMode.KEEP_LAST_N, 2), points, NOW, Guards(allowance=0))

    assert {d.point.database for d in plan.drop} == {"demo"}
    assert {d.point.database for d in plan.held} == {"acme"}


SHELVES = st.lists(
    st.builds(
        lambda archive_id, minutes, **rest: point(archive_id, NOW - timedelta(minutes=minutes), **rest),
        st.integers(1, 10_000),
        st.integers(-10, 900_000),
        database=st.sampled_from(["a", "b"]),
        verified=st.sampled_from([True, True, True, False]),
        state=st.sampled_from(["stored", "stored", "stored", "quarantined", "trashed"]),
        in_use=st.integers(0, 9).map(lambda n: n == 0),
        pinned=st.integers(0, 9).map(lambda n: n == 0),
        drilled=st.integers(0, 5).map(lambda n: n == 0),
        drill_failed=st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=30,
    unique_by=lambda p: p.archive_id,
)
COUNTS = st.fixed_dictionaries({name: st.sampled_from([0, 0, 1, 2, 5]) for name in RULE_NAMES}).filter(
    lambda counts: any(counts.values())
)
POLICIES = st.builds(
    lambda zone_name, counts: rules(zone_name, **counts),
    st.sampled_from(["UTC", BRUSSELS, "America/St_Johns", "Pacific/Kiritimati"]),
    COUNTS,
)


@given(POLICIES, SHELVES)
def test_the_planner_and_a_second_reading_agree(policy: RetentionPolicy, points: list[RetentionPoint]) -> None:
    plan = plan_retention(policy, points, NOW)

    assert {d.point.archive_id for d in plan.drop} == droppable(policy, points, NOW)
    assert all(k.reasons and all(k.reasons) for k in plan.keep)


@given(POLICIES, SHELVES)
def test_applying_it_leaves_nothing_to_do_and_the_best_of_each_database(
    policy: RetentionPolicy, points: list[RetentionPoint]
) -> None:
    plan = plan_retention(policy, points, NOW)
    stays = {k.point.archive_id for k in plan.keep}

    assert plan_retention(policy, [k.point for k in plan.keep], NOW).drop == ()
    for database in {p.database for p in points}:
        here = [p for p in points if p.database == database and p.state in ("stored", "quarantined")]
        for chosen in (here, [p for p in here if p.counts], [p for p in here if p.drilled]):
            newest = max(chosen, key=lambda p: (p.taken_at, p.archive_id), default=None)
            assert newest is None or newest.archive_id in stays or chosen is here
        assert not here or stays & {p.archive_id for p in here}


@given(POLICIES, SHELVES, st.integers(0, 3000))
def test_what_a_rule_is_sure_of_it_keeps_until_then(
    policy: RetentionPolicy, points: list[RetentionPoint], hours: int
) -> None:
    """Whatever verified backups come at most once in each hour until then: here, one more each day."""
    plan = plan_retention(policy, points, NOW)
    later = NOW + timedelta(hours=hours)
    more = [
        point(20_000 + n, NOW + timedelta(days=n, hours=1), database=database)
        if database == "a"
        else point(30_000 + n, NOW + timedelta(days=n, hours=1), database=database)
        for database in ("a", "b")
        for n in range(hours // 24)
    ]

    stays = {k.point.archive_id for k in plan_retention(policy, [*points, *more], later).keep}

    for k in plan.keep:
        if k.until is not None and k.until > later and k.point.counts:
            assert k.point.archive_id in stays


def test_a_stretch_has_one_name_in_its_zone() -> None:
    new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)

    assert stretch_of(Period.WEEKLY, datetime(2027, 1, 1, 12, tzinfo=UTC), zone()).name == "2026-W53"
    assert stretch_of(Period.YEARLY, new_year, zone()).name == "2026"


def test_a_policy_is_replayed_day_by_day_over_what_really_was() -> None:
    history = nightly(30)
    history[5] = replace(history[5], state="deleted")
    history[6] = replace(history[6], verified=False)

    replay = replay_retention(
        RetentionPolicy(RetentionMode.KEEP_LAST_N, 3), history, since=NOW - timedelta(days=30), now=NOW
    )

    assert [p.archive_id for p in replay.survivors] == [0, 1, 2]
    assert (replay.count, replay.size_bytes, replay.oldest_at) == (3, 30, history[2].taken_at)
    assert len(replay.days) == 31
    assert replay.most_bytes == 40  # the unverified one waited until those that count were newer
    assert sum(day.dropped for day in replay.days) == 27


def test_a_replay_of_nothing_and_of_too_long_a_time() -> None:
    policy = rules(daily=1)

    assert replay_retention(policy, [], since=NOW, now=NOW).count == 0
    with pytest.raises(ValueError, match="800"):
        replay_retention(policy, [], since=NOW - timedelta(days=900), now=NOW)
