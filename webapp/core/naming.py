"""Names that we make: slugs, archive directories, queue ids. All of them are safe as file names."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime

from webapp.core.errors import InvalidInput

MAX_SLUG = 64
MAX_SAFE_DATABASE = 80
MAX_DATABASE_BYTES = 63  # NAMEDATALEN - 1: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_DIGEST_LENGTH = 8
_TIMESTAMP = "%Y%m%d-%H%M%S"
_DIRECTORY = re.compile(
    r"(?P<taken>\d{8}-\d{6})_(?P<database>[A-Za-z0-9_][A-Za-z0-9._-]*)_r(?P<run>[1-9]\d*)f(?P<fence>0|[1-9]\d*)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ParsedName:
    """What an archive directory's name says; ``safe_database`` is not always the database's own name."""

    taken_at: datetime
    safe_database: str
    run_id: int
    fence: int


def slugify(name: str) -> str:
    """A name in [a-z0-9-], at most 64 characters, never empty: `unnamed` where nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return slug[:MAX_SLUG].rstrip("-") or "unnamed"


def unique_slug(name: str, taken: Container[str]) -> str:
    """The slug of a name, with the first of -2, -3, ... that is not taken."""
    base = slugify(name)
    slug, number = base, 1
    while slug in taken:
        number += 1
        suffix = f"-{number}"
        slug = base[: MAX_SLUG - len(suffix)].rstrip("-") + suffix
    return slug


def check_database_name(name: str) -> str:
    """The name itself if a PostgreSQL database can have it, however odd; else InvalidInput."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidInput(
            "The database name is not valid text.", hint="Copy the name from the server again."
        ) from None
    if not name:
        raise InvalidInput("The database name is empty.", hint="Write the name of a database.")
    if "\0" in name:
        raise InvalidInput("The database name holds a NUL character, which no database has.", hint="Type it again.")
    if size > MAX_DATABASE_BYTES:
        raise InvalidInput(
            f"The database name is {size} bytes long; PostgreSQL allows {MAX_DATABASE_BYTES}.",
            hint="Copy the name from the server's own list: it cuts longer names.",
        )
    return name


def safe_database_name(database: str) -> str:
    """A file name part for a database: the name itself where it is harmless, else replaced and marked by its digest."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", database)
    if safe[:1] in ("", ".", "-"):
        safe = "_" + safe[1:]
    if safe == database and len(safe) <= MAX_SAFE_DATABASE:
        return safe
    digest = hashlib.sha256(database.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{safe[: MAX_SAFE_DATABASE - _DIGEST_LENGTH - 1]}-{digest}"


def archive_base_name(taken_at: datetime, database: str) -> str:
    """`YYYYMMDD-HHMMSS_<safe database name>` in UTC: the name people see on a downloaded archive."""
    if taken_at.tzinfo is None:
        raise ValueError("taken_at must be aware")
    moment = taken_at.astimezone(UTC)
    return f"{moment.year:04d}{moment.strftime(_TIMESTAMP[2:])}_{safe_database_name(database)}"


def archive_directory_name(taken_at: datetime, database: str, run_id: int, fence: int) -> str:
    """The base name with run and fence, which make it unique even for two runs in one second."""
    return f"{archive_base_name(taken_at, database)}_r{run_id}f{fence}"


def restoring_name(database: str, task_id: int, fence: int) -> str:
    """The name under which a database is loaded before it is shown to anybody: `prod__restoring_418_1`."""
    return _with_suffix(database, f"__restoring_{task_id}_{fence}")


def kept_name(database: str, at: datetime) -> str:
    """The name that a replaced database gets: `prod__before_20261122_023004`, in UTC."""
    return _with_suffix(database, f"__before_{at.astimezone(UTC):%Y%m%d_%H%M%S}")


def _with_suffix(database: str, suffix: str) -> str:
    """Name and suffix within PostgreSQL's limit; a name that is cut is told from others cut alike by its digest."""
    room = MAX_DATABASE_BYTES - len(suffix)
    if len(database.encode()) <= room:
        return database + suffix
    digest = hashlib.sha256(database.encode()).hexdigest()[:_DIGEST_LENGTH]
    kept = database.encode()[: room - _DIGEST_LENGTH - 1].decode(errors="ignore")
    return f"{kept}-{digest}{suffix}"


def parse_archive_directory_name(name: str) -> ParsedName | None:
    """The inverse: None for every name that ``archive_directory_name`` would not have written."""
    match = _DIRECTORY.fullmatch(name)
    if match is None or len(match["database"]) > MAX_SAFE_DATABASE:
        return None
    try:
        taken_at = datetime.strptime(match["taken"], _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return ParsedName(taken_at, match["database"], int(match["run"]), int(match["fence"]))


def queue_task_id(kind: str, task_id: int, attempt: int = 1) -> str:
    """The queue's id for an attempt of a task: `run-418`, then `run-418-2`. RQ allows [A-Za-z0-9_-] only."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", kind, re.ASCII) or task_id < 1 or attempt < 1:
        raise ValueError("not a task")
    return f"{kind}-{task_id}" if attempt == 1 else f"{kind}-{task_id}-{attempt}"


def run_queue_id(run_id: int, attempt: int = 1) -> str:
    """The queue's id for an attempt of a run."""
    return queue_task_id("run", run_id, attempt)
