"""A short walk of the state machine; `make proof-retention` makes 100,000 steps."""

from __future__ import annotations

from tests.proof.retention_machine import prove


def test_a_few_hundred_steps_break_no_promise() -> None:
    found = prove(300, per_example=30)

    assert found["steps"] >= 300
