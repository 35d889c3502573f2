"""The errors of the house: sentences for the operator, with a hint and a code; nothing else crosses a room's border."""

from __future__ import annotations

from webapp.core.status import ErrorCode


class HoldfastError(Exception):
    """What failed, on which thing; a hint what to do; whether a retry can help.

    Attributes:
        message: One or two sentences, no secret in them.
        hint: What the operator can do, or "".
        code: The stored error code.
        permanent: True when the same attempt would fail again (no retry).
    """

    code: ErrorCode = ErrorCode.INTERNAL
    permanent: bool = False

    def __init__(
        self, message: str, *, hint: str = "", code: ErrorCode | None = None, permanent: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code
        if permanent is not None:
            self.permanent = permanent


class SourceError(HoldfastError):
    """The source could not be reached or did not give what was asked."""

    code = ErrorCode.CONNECTION_FAILED


class ArchiveError(HoldfastError):
    """Bytes that are not a complete, intact archive."""

    code = ErrorCode.CORRUPT


class StoreError(HoldfastError):
    """The archive directory could not be written, read or trusted."""

    code = ErrorCode.STORE_ERROR


class TaskStopped(HoldfastError):
    """The task must end now: cancelled, out of time, lease lost or shut down. ``code`` says which."""

    code = ErrorCode.CANCELLED
    permanent = True


class InvalidInput(HoldfastError):
    """A value a person gave is not usable. ``field`` names the form field, or ""."""

    code = ErrorCode.INVALID_CONFIGURATION
    permanent = True

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class NotFound(HoldfastError):
    """The thing asked for does not exist, or is not for this user to see."""

    permanent = True


class Conflict(HoldfastError):
    """The thing changed or is busy, so the wish cannot be granted as asked."""

    permanent = True


class QueueDown(HoldfastError):
    """Redis cannot be reached now. Nothing is lost: the database is the calendar, and reconciling pushes again."""
