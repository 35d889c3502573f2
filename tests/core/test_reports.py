"""Checks and reports: what they say of themselves."""

from __future__ import annotations

from webapp.core.reports import CheckState


def test_each_state_of_a_check_has_its_level_in_the_log() -> None:
    levels = {state: state.log_level for state in CheckState}

    assert levels == {
        CheckState.PASSED: "good",
        CheckState.WARNING: "warning",
        CheckState.FAILED: "error",
        CheckState.SKIPPED: "info",
    }
