"""What a form page shows beside its draft: refusals by field, and whether another person saved meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.core.errors import InvalidInput
from webapp.services.drafts import InvalidDraft, StaleDraft


@dataclass(frozen=True, slots=True)
class FormState:
    """See the module. ``version`` is the one that the form is sent back with."""

    problems: tuple[InvalidInput, ...] = ()
    stale: StaleDraft | None = None
    version: int = 0

    @property
    def errors(self) -> dict[str, InvalidInput]:
        """The first refusal of each field."""
        return {problem.field: problem for problem in reversed(self.problems)}

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        if self.stale is not None:
            return 409
        return 422 if self.problems else 200


def refused(error: InvalidInput, version: int = 0) -> FormState:
    """The state after a refusal of one or many fields."""
    problems = error.problems if isinstance(error, InvalidDraft) else (error,)
    return FormState(problems, version=version)


def overtaken(error: StaleDraft) -> FormState:
    """The state after another person was faster: the entries stay, and saving again replaces what is stored now."""
    return FormState(stale=error, version=error.current_version)
