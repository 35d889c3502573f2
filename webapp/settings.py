"""Settings: read once at a door from the environment (or NAME_FILE secrets); a wrong value stops us, by name.

docs/settings.md lists them; a test compares.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from webapp.core.errors import HoldfastError

VERSION = "0.1.0"
DATABASES = ("sqlite", "postgresql", "postgres")
SHORTEST_PASSPHRASE = 12


class SettingsError(HoldfastError):
    """An environment variable has a value that cannot be used."""

    permanent = True


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the environment decides. Directories are absolute."""

    data_directory: Path
    archive_directory: Path
    database_url: str
    redis_url: str
    redis_embedded: bool
    host: str
    port: int
    secret_key: str
    vault_keys: tuple[str, ...]
    workers: int = 3
    web_threads: int = 8
    compression_threads: int = 2
    log_level: str = "INFO"
    trusted_proxies: int = 0
    cookie_secure: bool = False
    session_idle_minutes: int = 30
    session_absolute_hours: int = 12
    lease_seconds: int = 60
    heartbeat_seconds: int = 15
    reconcile_seconds: int = 5
    poll_scale: float = 1.0
    allowed_hosts: tuple[str, ...] = ()
    self_backup_passphrase: str = ""
    restore_directory: Path | None = None
    upload_limit_gib: int = 64
    drill_directory: Path | None = None
    drill_jobs: int = 2
    drill_boot_command: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Settings(data_directory={str(self.data_directory)!r}, host={self.host!r}, port={self.port})"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Creates the data directory (0700) and, at first use, its keys (0600).

    Raises:
        SettingsError: naming the variable.
    """
    reader = _Reader(dict(os.environ if environment is None else environment))
    data = Path(reader.text("HOLDFAST_DATA_DIR", "./var")).expanduser().resolve()
    _make_private(data)
    archives = Path(reader.text("HOLDFAST_ARCHIVE_DIR", str(data / "archives"))).expanduser().resolve()
    redis_url = reader.text("REDIS_URL", "")
    lease = reader.number("HOLDFAST_LEASE_SECONDS", 60, 2, 3600)
    heartbeat = reader.number("HOLDFAST_HEARTBEAT_SECONDS", min(15, lease // 2), 1, 600)
    if heartbeat * 2 > lease:
        raise SettingsError(
            f"HOLDFAST_HEARTBEAT_SECONDS ({heartbeat}) must be at most half of HOLDFAST_LEASE_SECONDS ({lease}).",
            hint="A lease that is renewed too late ends while its task still runs.",
        )
    return Settings(
        data_directory=data,
        archive_directory=archives,
        database_url=_database_url(reader, data),
        redis_url=redis_url or embedded_redis_url(data),
        redis_embedded=not redis_url,
        host=reader.text("HOST", "127.0.0.1"),
        port=reader.number("PORT", 8000, 0, 65535),
        secret_key=reader.text("SECRET_KEY", "") or _kept(data / "secret.key", lambda: secrets.token_urlsafe(48)),
        vault_keys=_vault_keys(reader, data),
        workers=reader.number("HOLDFAST_WORKERS", 3, 1, 64),
        web_threads=reader.number("HOLDFAST_WEB_THREADS", 8, 1, 64),
        compression_threads=reader.number("HOLDFAST_COMPRESSION_THREADS", 2, 1, 64),
        log_level=reader.choice("HOLDFAST_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        trusted_proxies=reader.number("HOLDFAST_TRUSTED_PROXIES", 0, 0, 5),
        cookie_secure=reader.flag("HOLDFAST_COOKIE_SECURE", default=False),
        session_idle_minutes=reader.number("HOLDFAST_SESSION_IDLE_MINUTES", 30, 1, 1440),
        session_absolute_hours=reader.number("HOLDFAST_SESSION_ABSOLUTE_HOURS", 12, 1, 168),
        lease_seconds=lease,
        heartbeat_seconds=heartbeat,
        reconcile_seconds=reader.number("HOLDFAST_RECONCILE_SECONDS", 5, 1, 30),
        poll_scale=reader.decimal("HOLDFAST_POLL_SCALE", 1.0, 0.02, 10.0),
        restore_directory=Path(reader.text("HOLDFAST_RESTORE_DIR", str(data / "restored"))).expanduser().resolve(),
        upload_limit_gib=reader.number("HOLDFAST_UPLOAD_LIMIT_GIB", 64, 1, 4096),
        allowed_hosts=tuple(name for name in reader.text("HOLDFAST_ALLOWED_HOSTS", "").split(",") if name),
        self_backup_passphrase=_passphrase(reader),
        drill_directory=Path(reader.text("HOLDFAST_DRILL_DIR", str(data / "drills"))).expanduser().resolve(),
        drill_jobs=reader.number("HOLDFAST_DRILL_JOBS", 2, 1, 16),
        drill_boot_command=_words("HOLDFAST_DRILL_BOOT", reader.text("HOLDFAST_DRILL_BOOT", "")),
    )


def embedded_redis_url(data: Path) -> str:
    """Where the embedded server of this data directory listens: a Unix socket, in a short path (its limit is 108 bytes)."""
    socket = data / "redis.sock"
    if len(str(socket).encode()) > 100:
        socket = Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}-{abs(hash_path(data)):x}" / "redis.sock"
    return f"unix://{socket}?db=0"


def hash_path(path: Path) -> int:
    """A number that is the same for the same path in every process."""
    number = 0
    for byte in str(path).encode():
        number = (number * 257 + byte) % (1 << 48)
    return number


class _Reader:
    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def text(self, name: str, default: str) -> str:
        path = self.environment.get(f"{name}_FILE")
        if path:
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError(f"{name}_FILE cannot be read: {error.strerror}.") from None
        return self.environment.get(name, "").strip() or default

    def number(self, name: str, default: int, low: int, high: int) -> int:
        raw = self.text(name, str(default))
        if not raw.isdigit() or not low <= int(raw) <= high:
            raise SettingsError(f"{name} must be a whole number from {low} to {high}, not {raw!r}.")
        return int(raw)

    def decimal(self, name: str, default: float, low: float, high: float) -> float:
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SettingsError(f"{name} must be a number from {low} to {high}, not {raw!r}.")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        raw = self.choice(name, "true" if default else "false", ("true", "false", "1", "0", "yes", "no"))
        return raw in ("true", "1", "yes")

    def choice(self, name: str, default: str, words: tuple[str, ...]) -> str:
        raw = self.text(name, default)
        for word in words:
            if raw.lower() == word.lower():
                return word
        raise SettingsError(f"{name} must be one of {', '.join(words)}, not {raw!r}.")


def _words(name: str, line: str) -> tuple[str, ...]:
    """A command line as its words; no shell will see it."""
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise SettingsError(f"{name} is not a command line: {error}.") from None


def _database_url(reader: _Reader, data: Path) -> str:
    url = reader.text("DATABASE_URL", f"sqlite:///{data / 'holdfast.sqlite'}")
    if url.partition(":")[0].partition("+")[0] not in DATABASES:
        raise SettingsError("DATABASE_URL must begin with sqlite:/// or postgresql://; no other database is supported.")
    return url


def _vault_keys(reader: _Reader, data: Path) -> tuple[str, ...]:
    raw = reader.text("HOLDFAST_VAULT_KEYS", "") or _kept(data / "vault.key", lambda: Fernet.generate_key().decode())
    keys = tuple(key.strip() for key in raw.replace("\n", ",").split(",") if key.strip())
    for key in keys:
        try:
            Fernet(key)
        except ValueError:
            raise SettingsError(
                "HOLDFAST_VAULT_KEYS must hold Fernet keys (32 bytes in URL-safe base64), separated by commas."
            ) from None
    return keys


def _passphrase(reader: _Reader) -> str:
    found = reader.text("HOLDFAST_SELF_BACKUP_PASSPHRASE", "")
    if found and len(found) < SHORTEST_PASSPHRASE:
        raise SettingsError(f"HOLDFAST_SELF_BACKUP_PASSPHRASE must have at least {SHORTEST_PASSPHRASE} characters.")
    return found


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"HOLDFAST_DATA_DIR {directory} cannot be created: {error.strerror}.") from None


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The content of a key file. Made at first use, whole or not at all, so that two processes agree on one key."""
    if not path.exists():
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            os.link(name, path)
        os.unlink(name)
    return path.read_text(encoding="utf-8").strip()
