"""What our forms share: refusals of services land at their field, and fields nobody asked for are noticed."""

from __future__ import annotations

import logging
from typing import Any

from flask import request
from flask_wtf import FlaskForm

from webapp.core.errors import InvalidInput
from webapp.services.drafts import InvalidDraft

logger = logging.getLogger(__name__)


class Form(FlaskForm):
    """A form of this house."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        if request.method == "POST":
            _note_foreign(set(request.form) - {field.name for field in self})

    def is_good(self) -> bool:
        """Whether everything posted fits; the errors are at the fields otherwise."""
        return bool(self.validate())  # type: ignore[no-untyped-call]

    def refuse(self, error: InvalidInput) -> None:
        """Show a service's refusals at their fields, or above the form when they have none."""
        for problem in error.problems if isinstance(error, InvalidDraft) else (error,):
            self._refuse_one(problem)

    def _refuse_one(self, error: InvalidInput) -> None:
        field = self._fields.get(error.field)
        message = f"{error.message} {error.hint}".strip()
        if field is None:
            self.form_errors.append(message)
        else:
            field.errors = [*field.errors, message]


def _note_foreign(names: set[str]) -> None:
    """Somebody tries fields that the form does not have (mass assignment), or a page is older than the program."""
    if names:
        logger.warning(
            "%s %s: fields that the form does not have: %s", request.method, request.path, sorted(names)[:10]
        )
