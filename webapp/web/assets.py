"""Addresses of static files, with a hash of their content: browsers keep them for a year and never show an old one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from flask import url_for


def build_asset(folder: Path) -> Callable[[str], str]:
    """Hash every static file once and answer with the ``asset(path)`` that templates call."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    hashes = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()[:8] for path in files}

    def asset(path: str) -> str:
        """The address of a static file, such as "/static/css/base.css?v=1a2b3c4d". KeyError when there is none."""
        return url_for("static", filename=path, v=hashes[path])

    return asset
