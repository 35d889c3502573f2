"""Checks and reports: what they say of themselves."""

from __future__ import annotations

from webapp.core.reports import Check, CheckState, VerificationReport, find_failure
from webapp.core.status import ErrorCode, VerificationLevel

GOOD = Check("login", "Log in", CheckState.PASSED)
CODE = ErrorCode.CONNECTION_FAILED


def test_each_state_of_a_check_has_its_level_in_the_log() -> None:
    levels = {state: state.log_level for state in CheckState}

    assert levels == {
        CheckState.PASSED: "good",
        CheckState.WARNING: "warning",
        CheckState.FAILED: "error",
        CheckState.SKIPPED: "info",
    }


def test_the_first_check_that_failed_is_the_error() -> None:
    refused = Check("paths", "Read", CheckState.FAILED, "No rights.", hint="Ask.", code=ErrorCode.PERMISSION_DENIED)
    later = Check("disk", "Room", CheckState.FAILED, "Full.")

    error = find_failure([GOOD, refused, later], code=CODE)

    assert error is not None
    assert error.permanent
    assert (error.message, error.hint, error.code) == ("Read: No rights.", "Ask.", ErrorCode.PERMISSION_DENIED)


def test_a_check_that_failed_without_a_word_or_a_code_is_an_error_with_both() -> None:
    error = find_failure([Check("dns", "Name", CheckState.FAILED)], code=CODE)

    assert error is not None
    assert (error.message, error.code) == ("Name: failed", CODE)


def test_there_is_no_error_when_no_check_failed() -> None:
    warned = Check("copy", "Copy", CheckState.WARNING, "Look.")

    assert find_failure([GOOD, warned], code=CODE) is None


def report(*checks: Check) -> VerificationReport:
    return VerificationReport(VerificationLevel.INTACT, checks)


def test_a_report_that_passed_has_no_error() -> None:
    assert report(GOOD).error() is None


def test_a_report_that_failed_says_what_and_why() -> None:
    bad = Check("digest", "Digest", CheckState.FAILED, "It differs.")

    error = report(GOOD, bad).error("Restore point 7 failed its verification", hint="Look at the report.")

    assert error is not None
    assert error.permanent
    assert error.message == "Restore point 7 failed its verification: Digest: It differs."
    assert (error.hint, error.code) == ("Look at the report.", ErrorCode.CORRUPT)


def test_a_report_without_any_check_has_an_error_too() -> None:
    error = report().error()

    assert error is not None
    assert error.message == "Verification failed: Checks: None was made."
