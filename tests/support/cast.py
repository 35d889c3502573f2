"""The cast: Alice is an admin, Bob an operator, Charlie a viewer; Mallory is a stranger and has no account."""

from __future__ import annotations

from webapp.core.status import Role

PASSWORD = "tulips on the window"
CAST: dict[str, tuple[str, Role]] = {
    "alice": ("Alice", Role.ADMIN),
    "bob": ("Bob", Role.OPERATOR),
    "charlie": ("Charlie", Role.VIEWER),
}
