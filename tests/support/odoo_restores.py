"""What Odoo makes of an upload: the database that a later backup of it shows, and the ways in which it goes wrong.

``OdooLike.restore_fault`` names a fault as observed (design notes, Odoo's defects): success with data missing, files that land
beside the filestore, a database left behind, an answer that never comes.
"""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from collections.abc import Mapping

# Odoo answers 303, though …
DATA_MISSING = "data missing"
ROW_MISSING = "row missing"
FILES_NESTED = "files nested"
FILES_MISSING = "files missing"
NOT_NEUTRALISED = "not neutralised"
UUID_KEPT = "uuid kept"
# Odoo or what stands before it fails, and …
LEFT_BEHIND = "left behind"
GATEWAY_TIMEOUT = "gateway timeout"
CONNECTION_LOST = "connection lost"
TOO_LARGE = "too large"

_PARAMETERS = re.compile(rb"(COPY public\.ir_config_parameter \([^)]*\) FROM stdin;\n)((?:[^\\][^\n]*\n)*)(\\\.\n)")
_PARTNERS = re.compile(rb"(COPY public\.res_partner \([^)]*\) FROM stdin;\n)((?:[^\\][^\n]*\n)*)(\\\.\n)")
_UUID = re.compile(rb"(\tdatabase\.uuid\t)[^\t\n]*")


class BadUpload(Exception):
    """What Odoo says about an upload that it cannot restore; the database that it made first stays."""


def restored_zip(content: bytes, form: Mapping[str, str], version: str, fault: str) -> bytes:
    """The zip that a backup of the restored database gives. Raises BadUpload."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile:
        raise BadUpload("File is not a zip file") from None
    if "dump.sql" not in members:
        raise BadUpload("'There is no item named \\'dump.sql\\' in the archive'")
    members["dump.sql"] = _loaded(members["dump.sql"], form, version, fault)
    members["manifest.json"] = _manifest(members.get("manifest.json", b"{}"), form["name"], version)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            landed = _landed(name, fault)
            if landed:
                archive.writestr(landed, data)
    return packed.getvalue()


def is_neutralised(form: Mapping[str, str], version: str) -> bool:
    """Whether Odoo neutralises: since 16.0, for any text in the field; the development branch reads what it says."""
    wanted = form.get("neutralize_database", "")
    if version == "dev":
        return wanted.lower() in ("true", "1", "on", "yes")
    return bool(wanted) and not version.startswith("15")


def _loaded(dump: bytes, form: Mapping[str, str], version: str, fault: str) -> bytes:
    """psql ignores errors: a COPY that fails leaves its table empty and nobody knows."""
    if fault == DATA_MISSING:
        dump = _PARTNERS.sub(rb"\1\3", dump)
    if fault == ROW_MISSING:
        dump = _PARTNERS.sub(lambda found: found[1] + found[2][found[2].index(b"\n") + 1 :] + found[3], dump)
    if form.get("copy", "").lower() in ("true", "1", "on", "yes") and fault != UUID_KEPT:
        dump = _UUID.sub(rb"\g<1>" + str(uuid.uuid4()).encode(), dump)
    if is_neutralised(form, version) and fault != NOT_NEUTRALISED:
        dump = _PARAMETERS.sub(rb"\1\g<2>99\tdatabase.is_neutralized\ttrue\n\3", dump)
    return dump


def _manifest(data: bytes, name: str, version: str) -> bytes:
    shown = {"odoo_dump": "1", "version": version, **json.loads(data), "db_name": name}
    return json.dumps(shown, indent=4).encode()


def _landed(name: str, fault: str) -> str:
    if not name.startswith("filestore/"):
        return name
    if fault == FILES_NESTED:  # shutil.move into a directory that was left over
        return "filestore/" + name
    return "" if fault == FILES_MISSING else name
