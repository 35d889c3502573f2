"""manifest.json as Odoo writes it into its zip, made from what the database itself knows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BASE = re.compile(r"((?:saas[~-]\d+)|\d+)\.(\d+)(?:\.|$)")


def odoo_manifest(database: str, server_version_num: int, modules: Mapping[str, str | None]) -> bytes:
    """The manifest of an Odoo database. Odoo's own version is read off the version of module ``base``."""
    series = odoo_series(modules)
    match = _BASE.match(series)
    major: int | str = 0
    minor = 0
    if match:
        major = int(match[1]) if match[1].isdigit() else match[1]
        minor = int(match[2])
    content: dict[str, Any] = {
        "odoo_dump": "1",
        "db_name": database,
        "version": series,
        "version_info": [major, minor, 0, "final", 0, ""],
        "major_version": series,
        "pg_version": f"{server_version_num // 10_000}.0",  # Odoo writes .0 whatever the minor version is.
        "modules": dict(modules),
    }
    return json.dumps(content, indent=4).encode()


def plain_manifest(database: str, server_version_num: int) -> bytes:
    """The manifest of any other database: no key says that it is one of Odoo's."""
    content = {"db_name": database, "pg_version": f"{server_version_num // 10_000}.0", "generator": "Holdfast"}
    return json.dumps(content, indent=4).encode()


def odoo_series(modules: Mapping[str, str | None]) -> str:
    """Like "18.0" or "saas~17.4"; "" when module ``base`` does not tell."""
    match = _BASE.match(modules.get("base") or "")
    return f"{match[1]}.{match[2]}" if match else ""
