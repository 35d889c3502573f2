"""The vault: sealing and opening of stored credentials.

MultiFernet: the first key seals, all keys open, so keys can be rotated. Fernet has no associated data, so the context
(table, row, field) is sealed together with the value and compared at opening: a ciphertext moved to another row stays shut.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from webapp.core.errors import HoldfastError
from webapp.core.plans import NO_SECRET, SEALED_PREFIX, Secret
from webapp.core.status import ErrorCode


class VaultError(HoldfastError):
    """A stored secret cannot be opened with the keys we have."""

    code = ErrorCode.SECRET_UNREADABLE
    permanent = True


class Vault:
    """Seals and opens short secrets. ``keys``: Fernet keys, the newest first, at least one."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: Secret, context: str) -> str:
        """The sealed text; ``context`` is e.g. "instance:<uid>:master_password"."""
        body = json.dumps([context, secret.reveal()]).encode()
        return SEALED_PREFIX + self._fernet.encrypt(body).decode()

    def open(self, sealed: str | None, context: str) -> Secret:
        """The secret; the empty one for None. Raises VaultError (permanent)."""
        if sealed is None:
            return NO_SECRET
        try:
            body = self._fernet.decrypt(sealed.removeprefix(SEALED_PREFIX).encode())
        except InvalidToken:
            raise _unreadable() from None
        found, value = json.loads(body)
        if not hmac.compare_digest(str(found).encode(), context.encode()):
            raise _unreadable()
        return Secret(value)


def _unreadable() -> VaultError:
    return VaultError(
        "A stored password or key cannot be read with the vault key in use.",
        hint="Restore the vault key (HOLDFAST_VAULT_KEYS or vault.key in the data directory), or enter the secret again.",
    )
