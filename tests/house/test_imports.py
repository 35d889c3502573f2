"""Who may import whom is law: the contracts of pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_contracts_are_kept() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert found.returncode == 0, found.stdout + found.stderr


def test_every_broad_except_is_one_of_the_three_doors() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "webapp").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.strip().startswith(("except Exception", "except:")) or line.strip().startswith("except BaseException:")
        if "raise" not in "".join(path.read_text().splitlines()[number : number + 4])
    ]

    assert len(broad) <= 3, broad
