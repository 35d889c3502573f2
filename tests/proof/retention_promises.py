"""The promises of retention: what may have gone after an act, judged by the shelf as it was before.

The shelf was read by the slow oracle (tests/core/retention_oracle.py).
"""

from __future__ import annotations

from datetime import datetime

from tests.proof.retention_shelf import Shelf
from tests.proof.retention_world import COUNTED, DATABASES, STORED, TRASHED
from webapp.core.status import ArchiveState, VerificationStatus
from webapp.services import retention


def newly(before: Shelf, now: datetime, state: ArchiveState) -> set[int]:
    """What came into a state; everything else must be as it was."""
    after = Shelf(now).states
    changed = {number for number in after if number in before.states and after[number] is not before.states[number]}
    assert {after[number] for number in changed} <= {state}
    return changed


def check_dropped(before: Shelf, gone: set[int], *, capped: bool) -> None:
    """The promises of retention, against what really went."""
    COUNTED["trashed"] += len(gone)
    COUNTED["applied"] += 1
    if not gone:
        COUNTED["held back"] += bool(before.may_go) and (before.frozen or before.doubted)
        return
    assert not before.frozen, "a frozen job dropped something"
    assert not before.doubted, "a clock in doubt dropped something"
    assert gone <= before.may_go, f"dropped against the rules: {gone - before.may_go}"
    for database in DATABASES:
        here = [p for p in before.points if p.database == database and p.state in (STORED, ArchiveState.QUARANTINED)]
        due = [p for p in here if p.archive_id in before.may_go]
        mine = gone & {p.archive_id for p in here}
        if capped and mine:
            assert len(due) <= max(10, len(here) // 5, before.allowance), "more than the cap went"
            assert len(mine) <= retention.MOST_DELETIONS
        kept = [p for p in here if p.archive_id not in gone]
        assert kept or not here, "the last of a database went"
        assert not any(p.pinned or p.in_use for p in here if p.archive_id in gone)
        good, tested = before.good(database), [p for p in here if p.drilled]
        assert not good or good[-1].archive_id not in gone, "the newest verified went"
        newest = max(tested, key=lambda p: (p.taken_at, p.archive_id), default=None)
        assert newest is None or newest.archive_id not in gone, "the newest restore-tested went"


def check_swept(before: Shelf, after: Shelf, *, killed: bool) -> None:
    """What one pass of the sweeper may have done, at the time of ``before``."""
    for number, state in before.states.items():
        now = after.states[number]
        if state is TRASHED and now is not TRASHED:
            row = before.rows[number]
            assert now in (ArchiveState.DELETING, ArchiveState.DELETED)
            assert not before.doubted, "the trash was emptied by a clock in doubt"
            assert not before.frozen, "the trash of a frozen job was emptied"
            assert number not in before.used, "what was in use left the trash"
            assert row.trash_until is not None
            assert row.trash_until <= before.now, "the grace was cut short"
            good = row.verification_status is VerificationStatus.PASSED
            good = good and row.drill_status is not VerificationStatus.FAILED
            lone = row.trashed_by == "retention" and good and not before.good(row.database_name)
            assert not lone, "the last good copy left the trash by itself"
            COUNTED["gone for good"] += 1
        elif state is ArchiveState.DELETING:
            assert now is ArchiveState.DELETED or killed
        else:
            assert now is state, f"the sweeper made {state} {now}"
