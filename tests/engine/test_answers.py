"""Questions that every connection test asks, and errors as answers."""

from __future__ import annotations

import socket

import pytest

from webapp.core.errors import SourceError, TaskStopped
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode
from webapp.engine.answers import Answer, asked, check_of, find_addresses, good, knock

TITLES = {"dns": "Host name"}


def raising(error: Exception) -> Answer:
    raise error


def test_an_error_is_an_answer_with_its_hint_and_code() -> None:
    answer = asked(lambda: raising(SourceError("No.", hint="Ask.", code=ErrorCode.SSH_FAILED)))

    assert answer == (CheckState.FAILED, "No.", "failed", "Ask.", ErrorCode.SSH_FAILED)


def test_a_task_that_is_stopped_gives_no_answer() -> None:
    with pytest.raises(TaskStopped):
        asked(lambda: raising(TaskStopped("Cancelled.")))


def test_an_answer_becomes_a_check_and_none_one_that_was_skipped() -> None:
    check, skipped = check_of("dns", TITLES, good("It is there.", "1")), check_of("dns", TITLES, None)

    assert (check.title, check.state, check.detail, check.value) == (
        "Host name",
        CheckState.PASSED,
        "It is there.",
        "1",
    )
    assert (skipped.state, skipped.detail) == (CheckState.SKIPPED, "Not asked, as an earlier check failed.")


def test_a_name_leads_to_its_addresses() -> None:
    assert find_addresses("127.0.0.1", 22) == good("127.0.0.1 is 127.0.0.1.", "127.0.0.1")


def test_a_port_accepts_connections_or_a_hint_says_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert knock("127.0.0.1", port, hint="Look.") == good(
            f"127.0.0.1 accepts connections on port {port}.", f"port {port}"
        )

    state, detail, _, hint, code = knock("127.0.0.1", port, hint="Look.")

    assert (state, hint, code) == (CheckState.FAILED, "Look.", ErrorCode.CONNECTION_FAILED)
    assert f"does not accept connections on port {port}: Connection refused." in detail
