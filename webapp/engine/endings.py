"""How a program may end that did not do its work, and the error that says so."""

from __future__ import annotations

import signal
from enum import StrEnum

from webapp.core.errors import HoldfastError
from webapp.core.status import ErrorCode


class Ending(StrEnum):
    """How a program that did not do its work came to its end."""

    EXIT = "exit"
    SIGNAL = "signal"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    NOT_STARTED = "not_started"
    ABANDONED = "abandoned"


class ProcessFailed(HoldfastError):
    """A program ended otherwise than with exit code 0.

    Attributes:
        program: Its name, without directory.
        ending: How it ended.
        returncode: As ``subprocess`` gives it: negative for a signal; None when it never ran.
        stderr_tail: The end of what it wrote to stderr, cleaned of control characters; may be "".
    """

    def __init__(
        self,
        program: str,
        ending: Ending,
        *,
        returncode: int | None = None,
        stderr_tail: str = "",
    ) -> None:
        super().__init__(_sentence(program, ending, returncode))
        self.program = program
        self.ending = ending
        self.returncode = returncode
        self.stderr_tail = stderr_tail
        if ending is Ending.NOT_STARTED:
            self.code = ErrorCode.CLIENT_MISSING
            self.permanent = True
        elif ending is Ending.STALLED:
            self.code = ErrorCode.STALLED
        elif ending is Ending.TIMEOUT:
            self.code = ErrorCode.TIMEOUT


def _sentence(program: str, ending: Ending, returncode: int | None) -> str:
    if ending is Ending.SIGNAL and returncode is not None:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        return f"{program} was killed by {name}."
    return {
        Ending.NOT_STARTED: f"{program} could not be started.",
        Ending.STALLED: f"{program} sent nothing for too long and was ended.",
        Ending.TIMEOUT: f"{program} did not finish in time and was ended.",
        Ending.ABANDONED: f"{program} was left before its end.",
    }.get(ending, f"{program} ended with exit code {returncode}.")
