"""Who acts: a signed-in user, a person at the shell, or Holdfast itself. Every service that changes something takes one."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.core.status import Role


@dataclass(frozen=True, slots=True)
class Actor:
    """One who acts.

    Attributes:
        username: The user's name, or "anonymous", "cli", "scheduler".
        role: What the user may do; None for nobody.
        ip: Where the request came from, or "".
        user_id: The user's row, when there is one.
        trigger: First half of ``triggered_by``: "manual" (browser, shell) or "api".
    """

    username: str
    role: Role | None = None
    ip: str = ""
    user_id: int | None = None
    trigger: str = "manual"

    @property
    def triggered_by(self) -> str:
        """What a task keeps, e.g. "manual:alice"."""
        return f"{self.trigger}:{self.username}"

    def can(self, role: Role) -> bool:
        """Whether the actor has at least this role."""
        return self.role is not None and self.role.rank >= role.rank


ANONYMOUS = Actor("anonymous")
SHELL = Actor("cli", Role.ADMIN)
HOLDFAST = Actor("holdfast", Role.ADMIN)
