"""The vault: sealing and opening of stored credentials.

MultiFernet: the first key seals, all keys open, so keys can be rotated. Fernet has no associated data, so the context
(table, row, field) is sealed together with the value and compared at opening: a ciphertext moved to another row stays shut.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from webapp.core.errors import HoldfastError
from webapp.core.plans import NO_SECRET, SEALED_PREFIX, Secret
from webapp.core.status import ErrorCode

KEYS_FORMAT = "holdfast-vault-keys"
# 64 MiB and about a quarter of a second: https://www.rfc-editor.org/rfc/rfc7914, section 2.
_SCRYPT = {"n": 2**16, "r": 8, "p": 1}
_MOST_SCRYPT = {"n": 2**20, "r": 16, "p": 4}


class VaultError(HoldfastError):
    """A stored secret cannot be opened with the keys we have."""

    code = ErrorCode.SECRET_UNREADABLE
    permanent = True


class Vault:
    """Seals and opens short secrets. ``keys``: Fernet keys, the newest first, at least one."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """A short name of each key, from which nobody learns the key."""
        return tuple(key_id(key) for key in self._keys)

    def seal_keys(self, passphrase: Secret) -> str:
        """All keys as JSON that only the passphrase opens (``open_keys``)."""
        salt = os.urandom(16)
        sealed = _fernet_of(passphrase, salt, _SCRYPT).encrypt(json.dumps(self._keys).encode())
        body = {"format": KEYS_FORMAT, "version": 1, "kdf": "scrypt", **_SCRYPT, "salt": salt.hex()}
        return json.dumps({**body, "cipher": "fernet", "sealed": sealed.decode()}, indent=1)

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


def key_id(key: str) -> str:
    """16 hex digits that name a key."""
    return hashlib.sha256(b"holdfast vault key\0" + key.encode()).hexdigest()[:16]


def open_keys(sealed: str, passphrase: Secret) -> tuple[str, ...]:
    """The keys in a sealed key file, the newest first. Raises VaultError for another passphrase or a damaged file."""
    try:
        data = json.loads(sealed)
        numbers = {name: int(data[name]) for name in _SCRYPT}
        # A file that asks for more would only exhaust our memory.
        if data["format"] != KEYS_FORMAT or any(numbers[name] > most for name, most in _MOST_SCRYPT.items()):
            raise ValueError
        opened = _fernet_of(passphrase, bytes.fromhex(data["salt"]), numbers).decrypt(data["sealed"].encode())
        keys = tuple(str(key) for key in json.loads(opened))
        Vault(keys)
    except InvalidToken:
        raise VaultError("The key file cannot be opened with this passphrase.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VaultError("The key file is damaged.") from None
    return keys


def _fernet_of(passphrase: Secret, salt: bytes, numbers: dict[str, int]) -> Fernet:
    derived = Scrypt(salt=salt, length=32, **numbers).derive(passphrase.reveal().encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _unreadable() -> VaultError:
    return VaultError(
        "A stored password or key cannot be read with the vault key in use.",
        hint="Restore the vault key (HOLDFAST_VAULT_KEYS or vault.key in the data directory), or enter the secret again.",
    )
