"""The retention planner: its rules by example, and against a second reading of them on random shelves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.retention import RetentionError, RetentionPlan, RetentionPoint, RetentionPolicy, plan_retention
from webapp.core.status import RetentionMode

NOW = datetime(2027, 6, 15, 12, 0, tzinfo=UTC)
LAST, DAYS = RetentionMode.KEEP_LAST_N, RetentionMode.OLDER_THAN_DAYS


def point(archive_id: int, age_days: float, **changes: Any) -> RetentionPoint:
    """A verified, stored archive of «acme» of some age."""
    values = {"database": "acme", "verified": True, "state": "stored", "size_bytes": 10, **changes}
    return RetentionPoint(archive_id=archive_id, taken_at=NOW - timedelta(days=age_days), **values)


def kept(plan: RetentionPlan) -> dict[int, tuple[str, ...]]:
    return {k.point.archive_id: k.reasons for k in plan.keep}


def dropped(plan: RetentionPlan) -> dict[int, str]:
    return {d.point.archive_id: d.reason for d in plan.drop}


@pytest.mark.parametrize("value", [0, -1, 36_501, True, 1.5, "7", None])
def test_values_that_cannot_be_meant_are_refused(value: Any) -> None:
    with pytest.raises(RetentionError) as caught:
        RetentionPolicy(LAST, value)

    assert caught.value.message.endswith(".")
    assert "36500" in caught.value.hint


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RetentionError):
        RetentionPolicy("forever", 3)  # type: ignore[arg-type]


def test_the_newest_n_stay_with_reasons_and_the_others_go_with_one() -> None:
    plan = plan_retention(RetentionPolicy(LAST, 2), [point(n, n) for n in (1, 2, 3, 4)], NOW)

    assert kept(plan) == {
        1: ("one of the newest 2 verified", "newest verified backup"),
        2: ("one of the newest 2 verified",),
    }
    assert dropped(plan) == {3: "2 newer verified backups are kept", 4: "2 newer verified backups are kept"}
    assert plan.freed_bytes == 20
    assert plan.frozen is None


def test_young_ones_stay_and_exactly_the_age_is_still_young() -> None:
    plan = plan_retention(RetentionPolicy(DAYS, 30), [point(1, 29), point(2, 30), point(3, 30.001)], NOW)

    assert kept(plan) == {1: ("younger than 30 days", "newest verified backup"), 2: ("younger than 30 days",)}
    assert dropped(plan) == {3: "older than 30 days"}


def test_the_newest_verified_stays_when_all_are_too_old() -> None:
    plan = plan_retention(RetentionPolicy(DAYS, 1), [point(1, 400), point(2, 500)], NOW)

    assert kept(plan) == {1: ("newest verified backup",)}
    assert dropped(plan) == {2: "older than 1 day"}


def test_each_database_is_planned_by_itself() -> None:
    quiet = [point(100, 8, database="prod")]
    busy = [point(n, n / 10, database="demo") for n in range(1, 20)]

    plan = plan_retention(RetentionPolicy(LAST, 7), quiet + busy, NOW)

    assert kept(plan)[100] == ("one of the newest 7 verified", "newest verified backup", "last backup of this database")
    assert len(plan.drop) == 12


def test_unverified_ones_never_count_and_never_push_a_verified_one_out() -> None:
    unverified = [point(n, n / 10, verified=False) for n in range(1, 10)]

    plan = plan_retention(RetentionPolicy(LAST, 2), [*unverified, point(50, 20), point(51, 21)], NOW)

    assert {50, 51} <= set(kept(plan))
    assert plan.drop == ()


def test_an_unverified_one_goes_once_all_kept_verified_ones_are_newer() -> None:
    points = [point(1, 1), point(2, 2, verified=False), point(3, 3), point(4, 4, verified=False), point(5, 5)]

    plan = plan_retention(RetentionPolicy(LAST, 2), points, NOW)

    assert set(dropped(plan)) == {4, 5}
    assert dropped(plan)[4].startswith("not verified")


def test_an_unverified_one_stays_while_it_is_young_or_nothing_verified_exists() -> None:
    young = plan_retention(RetentionPolicy(DAYS, 30), [point(1, 1), point(2, 10, verified=False)], NOW)
    alone = plan_retention(
        RetentionPolicy(DAYS, 1), [point(1, 100, verified=False), point(2, 200, verified=False)], NOW
    )

    assert young.drop == ()
    assert alone.drop == ()


def test_pinned_and_used_ones_stay_and_do_not_change_what_happens_to_others() -> None:
    points = [point(1, 1), point(2, 2, in_use=True), point(3, 3, pinned=True), point(4, 4, verified=False), point(5, 5)]

    plan = plan_retention(RetentionPolicy(LAST, 1), points, NOW)

    assert kept(plan)[2] == ("in use",)
    assert kept(plan)[3] == ("pinned",)
    assert set(dropped(plan)) == {4, 5}


def test_quarantined_ones_never_count_and_gone_ones_are_left_out() -> None:
    points = [
        point(1, 1, state="quarantined"),
        point(2, 2),
        point(3, 3, state="deleting"),
        point(4, 4, state="missing"),
    ]

    plan = plan_retention(RetentionPolicy(LAST, 1), points, NOW)

    assert set(kept(plan)) == {1, 2}
    assert plan.drop == ()


def test_an_archive_from_the_future_freezes_everything() -> None:
    points = [point(1, -1, database="demo"), point(2, 2), point(3, 3)]

    plan = plan_retention(RetentionPolicy(LAST, 1), points, NOW)

    assert plan.drop == ()
    assert len(plan.keep) == 3
    assert plan.frozen is not None
    assert "demo" in plan.frozen
    assert all(k.reasons for k in plan.keep)


def test_a_clock_a_few_minutes_ahead_freezes_nothing() -> None:
    plan = plan_retention(RetentionPolicy(LAST, 1), [point(1, -4 / 1440), point(2, 2)], NOW)

    assert plan.frozen is None
    assert set(dropped(plan)) == {2}


def test_the_digest_names_the_decision_not_the_order() -> None:
    points = [point(n, n) for n in range(1, 9)]
    plan = plan_retention(RetentionPolicy(LAST, 3), points, NOW)

    assert plan_retention(RetentionPolicy(LAST, 3), points[::-1], NOW + timedelta(hours=1)) == plan
    assert plan_retention(RetentionPolicy(LAST, 4), points, NOW).digest != plan.digest
    assert plan_retention(RetentionPolicy(LAST, 3), [*points, point(9, 0.1)], NOW).digest != plan.digest
    assert len(plan.digest) == 64


def test_the_same_archive_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="twice"):
        plan_retention(RetentionPolicy(LAST, 1), [point(1, 1), point(1, 1)], NOW)


POINTS = st.lists(
    st.builds(
        point,
        st.integers(1, 10_000),
        st.integers(-10, 4000).map(lambda tenths: tenths / 10),
        database=st.sampled_from(["a", "b", "Ü=x"]),
        verified=st.booleans(),
        state=st.sampled_from(["stored", "stored", "stored", "quarantined", "deleted"]),
        in_use=st.integers(0, 9).map(lambda n: n == 0),
        pinned=st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=30,
    unique_by=lambda p: p.archive_id,
)
POLICIES = st.builds(RetentionPolicy, st.sampled_from([LAST, DAYS]), st.integers(1, 40))


@given(POLICIES, POINTS)
def test_what_is_dropped_is_what_a_second_reading_of_the_rules_drops(
    policy: RetentionPolicy, points: list[RetentionPoint]
) -> None:
    plan = plan_retention(policy, points, NOW)

    expected = {p.archive_id for p in points if may_go(policy, p, points)}
    assert {d.point.archive_id for d in plan.drop} == expected
    planned = {p.archive_id for p in points if p.state in ("stored", "quarantined")}
    assert {k.point.archive_id for k in plan.keep} == planned - expected
    assert all(k.reasons and all(k.reasons) for k in plan.keep)


def may_go(policy: RetentionPolicy, one: RetentionPoint, points: list[RetentionPoint]) -> bool:
    """One archive's fate by docs/retention.md, looking at all others each time."""
    alive = [p for p in points if p.state in ("stored", "quarantined")]
    if any((p.taken_at - NOW).total_seconds() > 300 for p in alive):
        return False
    if one not in alive or one.pinned or one.in_use:
        return False
    good = [p for p in alive if p.database == one.database and p.verified and p.state == "stored"]
    newer = [p for p in good if (p.taken_at, p.archive_id) > (one.taken_at, one.archive_id)]
    too_old = (NOW - one.taken_at).total_seconds() > policy.value * 86_400
    if one in good:
        return bool(newer) and (len(newer) >= policy.value if policy.mode == LAST else too_old)
    strictly_newer = {p.archive_id for p in good if p.taken_at > one.taken_at}
    if policy.mode == LAST:
        staying = sorted(good, key=lambda p: (p.taken_at, p.archive_id))[-policy.value :]
    else:
        staying = [p for p in good if (NOW - p.taken_at).total_seconds() <= policy.value * 86_400]
    covered = bool(strictly_newer) and all(p.archive_id in strictly_newer for p in staying)
    newest_is_newer = bool(good) and max(p.taken_at for p in good) > one.taken_at
    return covered and newest_is_newer and (policy.mode == LAST or too_old)


@given(POLICIES, POINTS)
def test_no_plan_ever_takes_the_last_or_the_newest_verified(
    policy: RetentionPolicy, points: list[RetentionPoint]
) -> None:
    gone = {d.point.archive_id for d in plan_retention(policy, points, NOW).drop}

    for database in {p.database for p in points}:
        here = [p for p in points if p.database == database and p.state in ("stored", "quarantined")]
        good = [p for p in here if p.counts]
        assert not here or any(p.archive_id not in gone for p in here)
        assert not good or max(good, key=lambda p: (p.taken_at, p.archive_id)).archive_id not in gone
        if policy.mode == LAST:
            assert sum(p.archive_id not in gone for p in good) >= min(policy.value, len(good))


@given(POLICIES, POINTS)
def test_applying_a_plan_leaves_nothing_more_to_do(policy: RetentionPolicy, points: list[RetentionPoint]) -> None:
    plan = plan_retention(policy, points, NOW)

    assert plan_retention(policy, [k.point for k in plan.keep], NOW).drop == ()
