"""What people do to single archives by hand: into the trash, out of it, and away for good."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.proof.retention_promises import newly
from tests.proof.retention_shelf import Shelf
from tests.proof.retention_world import COUNTED, KILL_AT, SOME, STORED, TRASHED, RetentionWorld
from tests.support.app import BOB
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.status import ArchiveState
from webapp.services import points


class WhatPeopleDo(RetentionWorld):
    """The rules by which a person moves one archive."""

    @rule(which=SOME, typed=st.booleans(), kill_at=KILL_AT)
    def delete_by_hand(self, which: int, typed: bool, kill_at: int | None) -> None:
        """Into the trash; the last one only with the word."""
        archive = self.pick(which, (STORED, ArchiveState.QUARANTINED))
        if archive is None:
            return
        before, number, name = Shelf(self.clock), archive.id, archive.database_name
        others = [p for p in before.points if p.database == name and p.state == STORED and p.archive_id != number]
        mine = next(p for p in before.points if p.archive_id == number)
        good = mine.verified and not mine.drill_failed
        last = not others or (good and not any(other.counts for other in others))

        def act() -> None:
            preview = points.deletion_preview(number, now=self.clock)
            try:
                word = name if typed else ""
                points.delete(number, typed=word, digest=preview.digest, actor=BOB, now=self.clock)
            except (Conflict, InvalidInput):
                assert mine.pinned or mine.in_use or (last and not typed)
            else:
                assert not mine.pinned
                assert not mine.in_use
                assert typed or not last
                COUNTED["deleted by hand"] += 1

        self.under_knife(act, kill_at)
        assert newly(before, self.clock, TRASHED) <= {number}

    @rule(which=SOME, kill_at=KILL_AT)
    def take_back(self, which: int, kill_at: int | None) -> None:
        """Out of the trash, as it was."""
        archive = self.pick(which, (TRASHED,))
        if archive is None:
            return
        number, quarantined = archive.id, archive.relative_path.startswith("quarantine/")
        killed = self.under_knife(lambda: points.take_back(number, actor=BOB, now=self.clock) and None, kill_at)
        COUNTED["taken back"] += not killed
        state = Shelf(self.clock).states[number]
        assert state is (ArchiveState.QUARANTINED if quarantined else STORED) or (killed and state is TRASHED)

    @rule(which=SOME, kill_at=KILL_AT)
    def delete_for_good(self, which: int, kill_at: int | None) -> None:
        """Out of the trash for good."""
        archive = self.pick(which, (TRASHED,))
        if archive is None:
            return
        number, name, before = archive.id, archive.database_name, Shelf(self.clock)

        def act() -> None:
            preview = points.deletion_preview(number, now=self.clock)
            try:
                points.delete_for_good(number, typed=name, digest=preview.digest, actor=BOB, now=self.clock)
            except Conflict:
                assert number in before.used or before.rows[number].pinned_at is not None

        self.under_knife(act, kill_at)
        changed = {n for n, state in Shelf(self.clock).states.items() if state is not before.states[n]}
        assert changed <= {number}
