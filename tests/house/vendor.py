"""Fetch what we vendor, exactly as published: `make vendor`.

`static/vendor/MANIFEST.json` names each package, its version, its licence and its files. To take a newer version, change
the version there, run this, and read the diff. Nothing here runs when Holdfast runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[2] / "static" / "vendor"
MANIFEST = VENDOR / "MANIFEST.json"


def digest(path: Path) -> str:
    """SHA-384 in the form that browsers use for subresource integrity."""
    return "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()


def read_manifest() -> list[dict[str, Any]]:
    """The packages, in the order of the file."""
    packages: list[dict[str, Any]] = json.loads(MANIFEST.read_text())["packages"]
    return packages


def fetch(package: dict[str, Any], into: Path) -> None:
    """Download one package and copy its files, unmodified."""
    spec = f"{package['name']}@{package['version']}"
    out = subprocess.run(["npm", "pack", "--silent", spec], cwd=into, check=True, capture_output=True, text=True)
    with tarfile.open(into / out.stdout.strip().splitlines()[-1]) as archive:
        for name, entry in package["files"].items():
            member = archive.extractfile(f"package/{entry['from']}")
            assert member is not None, f"{spec} has no {entry['from']}"
            target = VENDOR / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(member.read())
            entry["sha384"] = digest(target)


def main() -> None:
    """Fetch every package and write the new digests."""
    packages = read_manifest()
    with tempfile.TemporaryDirectory() as folder:
        for package in packages:
            fetch(package, Path(folder))
    MANIFEST.write_text(json.dumps({"packages": packages}, indent=2) + "\n")


if __name__ == "__main__":
    main()
