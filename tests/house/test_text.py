"""Things that no file of the project may hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTS = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org")
MACHINE = re.compile(r"(?:^|[^A-Za-z0-9_.-])/(?:work|farm)/")
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|\sstyle\s*=|\son[a-z]+\s*=|hx-on|javascript:", re.IGNORECASE)
UNSAFE = re.compile(r"\|\s*safe\b|\{%\s*autoescape\s+false")


def tracked(*patterns: str) -> list[Path]:
    out = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_registry_host_or_a_path_of_a_machine() -> None:
    texts = [
        path
        for path in tracked()
        if "vendor" not in path.parts and path.suffix not in {".png", ".woff2", ".gz"} and path.name != "test_text.py"
    ]

    assert lines_with(HOSTS, texts) == []
    assert lines_with(MACHINE, texts) == []


def test_templates_hold_no_inline_script_or_style() -> None:
    assert lines_with(INLINE, [p for p in tracked("templates/*") if "emails" not in p.parts]) == []


def test_templates_switch_escaping_off_nowhere() -> None:
    assert lines_with(UNSAFE, tracked("templates/*")) == []


def test_no_shell_pickle_or_eval() -> None:
    pattern = re.compile(r"shell=True|os\.system|os\.popen|\bpickle\.|yaml\.load\(|(?<![\w.])eval\(")

    assert lines_with(pattern, tracked("webapp/*.py")) == []
