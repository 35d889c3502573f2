"""What an archive of unknown origin says about itself: its kind, its database, when and by what it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from webapp.core.errors import ArchiveError, NotFound
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.engine.archive.unpack import DUMP, MANIFEST, is_attachment
from webapp.engine.archive.zip_reader import Member, ZipArchive, open_zip
from webapp.engine.pgtools import find_tools
from webapp.engine.process import ProcessFailed, clean_environment, run
from webapp.engine.report import Reporter

SNIFFED_BYTES = 16
_LONGEST_MANIFEST = 16 * 1024 * 1024
_LONGEST_NAME = 63
_OLDEST = datetime(1996, 1, 1, tzinfo=UTC)
# As Odoo names what one downloads ("prod_2026-11-22_05-30-37.zip") and as Holdfast does ("20261122-053037_prod.zip").
_ODOO_NAME = re.compile(r"(?P<database>.+?)_(?P<moment>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:\D|$)")
_OUR_NAME = re.compile(r"(?P<moment>\d{8}-\d{6})_(?P<database>.+)")
_SERVER = re.compile(r"^-- Dumped from database version (\d[\w.]*)", re.MULTILINE)
_PG_DUMP = re.compile(r"^-- Dumped by pg_dump version (\d[\w.]*)", re.MULTILINE)
_LISTED = re.compile(
    r"^;\s+(?:(?P<key>dbname|Dumped from database version|Dumped by pg_dump version): (?P<value>\S.*)"
    r"|Archive created at (?P<moment>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d))",
    re.MULTILINE,
)
_VERSION_KEYS = {"Dumped from database version": "postgresql", "Dumped by pg_dump version": "pg_dump"}


@dataclass(frozen=True, slots=True)
class Look:
    """What was found without reading the archive whole.

    Attributes:
        database: As the archive names itself, else as its file does; "" when neither tells.
        named_itself: The archive names its database, so that every later verification can ask for it.
        is_odoo: Its manifest.json says so; None when only the dump's tables can tell.
        files: Attachment files in it.
        taken_at: As the archive or its file name tells, None when they do not.
    """

    archive_format: ArchiveFormat
    database: str = ""
    named_itself: bool = False
    is_odoo: bool | None = None
    files: int = 0
    file_bytes: int = 0
    taken_at: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def kind_of(beginning: bytes) -> ArchiveFormat:
    """Which format a file is that begins so (``SNIFFED_BYTES`` are enough). Raises ArchiveError(not_a_backup)."""
    if beginning.startswith(b"PK\x03\x04"):
        return ArchiveFormat.ZIP
    if beginning.startswith(b"PGDMP"):
        return ArchiveFormat.CUSTOM
    what, hint = _stranger(beginning)
    raise ArchiveError(f"The file is {what}.", hint=hint, code=ErrorCode.NOT_A_BACKUP, permanent=True)


def _stranger(beginning: bytes) -> tuple[str, str]:
    usual = "Holdfast takes zip archives of Odoo or Holdfast, and dumps of pg_dump's custom format (pg_dump -Fc)."
    if not beginning:
        return "empty", usual
    if beginning.startswith(b"\x1f\x8b"):
        return "compressed with gzip", f"Unpack it first. {usual}"
    if beginning.startswith(b"PK\x05\x06"):
        return "a zip archive without any content", usual
    if beginning.lstrip().startswith((b"--", b"SET ", b"CREATE ", b"/*")):
        return "plain SQL", f"Put it into a zip archive, under the name {DUMP}."
    if beginning.lstrip().startswith(b"<"):
        return "a web page: probably the answer of an Odoo that could not make the backup", usual
    return "neither a zip archive nor a custom-format dump", usual


def look_at(path: str, file_name: str, archive_format: ArchiveFormat, reporter: Reporter) -> Look:
    """What the archive at ``path``, which the uploader called ``file_name``, says about itself.

    Raises ArchiveError for a zip that is damaged, hostile or holds no dump; StoreError from the disk.
    """
    database, moment = _said_by_name(file_name)
    if archive_format is ArchiveFormat.CUSTOM:
        return _look_at_custom(path, database, moment, reporter)
    with open_zip(path) as archive:
        return _look_at_zip(archive, database, moment)


def _look_at_zip(archive: ZipArchive, database: str, moment: datetime | None) -> Look:
    try:
        dump = archive.get_member(DUMP)
    except NotFound:
        raise ArchiveError(
            f"The zip archive holds no {DUMP}, so it is no backup of a database.",
            hint=f"A backup has {DUMP} at its root, not in a folder; Odoo's own zip is right as it was downloaded.",
            code=ErrorCode.NOT_A_BACKUP,
            permanent=True,
        ) from None
    manifest = _manifest_in(archive)
    own_name = manifest.get("db_name")
    named = isinstance(own_name, str) and 0 < len(own_name.encode("utf-8", "replace")) <= _LONGEST_NAME
    files = file_bytes = 0
    for member in archive.members():
        if is_attachment(member.name):
            files += 1
            file_bytes += member.size
    return Look(
        archive_format=ArchiveFormat.ZIP,
        database=str(own_name) if named else database,
        named_itself=named,
        is_odoo=True if "odoo_dump" in manifest else None,
        files=files,
        file_bytes=file_bytes,
        taken_at=moment or _stamp_of(dump),
        versions=_versions_in(manifest, _beginning(archive, dump)),
    )


def _manifest_in(archive: ZipArchive) -> Mapping[str, Any]:
    try:
        member = archive.get_member(MANIFEST)
    except NotFound:
        return {}
    if member.size > _LONGEST_MANIFEST:
        return {}
    try:
        data = json.loads(b"".join(archive.stream(member)))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _beginning(archive: ZipArchive, dump: Member) -> str:
    piece = next(iter(archive.stream(dump)), b"")
    return piece[:4096].decode("utf-8", "replace")


def _versions_in(manifest: Mapping[str, Any], beginning: str) -> dict[str, str]:
    versions = {}
    odoo = manifest.get("version")
    if "odoo_dump" in manifest and isinstance(odoo, str):
        versions["odoo"] = odoo[:20]
    for key, pattern in (("postgresql", _SERVER), ("pg_dump", _PG_DUMP)):
        match = pattern.search(beginning)
        if match:
            versions[key] = match[1][:20]
    return versions


def _look_at_custom(path: str, database: str, moment: datetime | None, reporter: Reporter) -> Look:
    """pg_restore's listing has a head with the facts; that the archive is whole is for the verification to find."""
    listing = _listing(path, reporter)
    versions = {}
    named = ""
    for match in _LISTED.finditer(listing):
        if match["key"] == "dbname":
            named = match["value"].strip()
        elif match["key"]:
            versions[_VERSION_KEYS[match["key"]]] = match["value"].split()[0][:20]
        else:
            moment = _moment(match["moment"]) or moment
    return Look(
        archive_format=ArchiveFormat.CUSTOM,
        database=named if 0 < len(named.encode()) <= _LONGEST_NAME else database,
        named_itself=bool(named),
        taken_at=moment,
        versions=versions,
    )


def _listing(path: str, reporter: Reporter) -> str:
    tools = find_tools()
    if not tools:
        return ""  # The verification says what is missing.
    program = max(tools, key=lambda one: one.major).program("pg_restore")
    try:
        finished = run(
            [program, "--list", path],
            env=clean_environment({"TZ": "UTC"}),
            timeout_seconds=120,
            reporter=reporter,
            max_output=4096,
        )
    except ProcessFailed:
        return ""
    return finished.stdout.decode("utf-8", "replace")


def _said_by_name(file_name: str) -> tuple[str, datetime | None]:
    """Database and moment in a file's name, as far as it has them."""
    base = re.sub(r"\.(zip|dump|backup|pgdump)$", "", file_name.rpartition("/")[2], flags=re.IGNORECASE)
    base = "".join(letter for letter in base if letter.isprintable())
    match = _OUR_NAME.fullmatch(base) or _ODOO_NAME.match(base)
    if match is None:
        return _cut(base), None
    return _cut(match["database"]), _moment(match["moment"])


def _cut(name: str) -> str:
    """As much of a name as a database can have."""
    return name.encode("utf-8", "ignore")[:_LONGEST_NAME].decode("utf-8", "ignore")


def _moment(text: str) -> datetime | None:
    """The moment that 14 digits in a row, whatever stands between them, mean in UTC; None when they mean none."""
    try:
        found = datetime.strptime("".join(re.findall(r"\d", text)), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found > _OLDEST else None


def _stamp_of(member: Member) -> datetime | None:
    """A member's time stamp, taken for UTC; tools that have none write 1980."""
    date, time = member.stamp >> 16, member.stamp & 0xFFFF
    try:
        found = datetime(
            (date >> 9) + 1980,
            date >> 5 & 0xF,
            date & 0x1F,
            time >> 11,
            time >> 5 & 0x3F,
            min((time & 0x1F) * 2, 59),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return found if found > _OLDEST else None
