"""How checks are told to a reporter."""

from __future__ import annotations

import pytest

from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter, tell_check


@pytest.mark.parametrize("state", [CheckState.PASSED, CheckState.FAILED, CheckState.SKIPPED])
def test_a_check_that_does_not_warn_is_a_line_at_its_level(state: CheckState) -> None:
    reporter = SilentReporter()

    tell_check(Check("dns", "Name", state), "Name: yes", reporter, code=ErrorCode.INCOMPLETE)

    assert reporter.lines == [(state.log_level, "Name: yes")]
    assert reporter.warnings == []


@pytest.mark.parametrize(
    ("own", "told"), [(None, ErrorCode.INCOMPLETE), (ErrorCode.CLIENT_TOO_OLD, ErrorCode.CLIENT_TOO_OLD)]
)
def test_a_check_that_warns_is_a_warning_of_the_task(own: ErrorCode | None, told: ErrorCode) -> None:
    reporter = SilentReporter()

    tell_check(Check("v", "Version", CheckState.WARNING, code=own), "Old", reporter, code=ErrorCode.INCOMPLETE)

    assert reporter.warnings == [(told, "Old")]
