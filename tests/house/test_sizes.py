"""The limits of docs/architecture.md: a file that a person can hold in the head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = sorted((ROOT / "webapp").rglob("*.py"))
TESTED_AND_MEASURED = sorted(path for place in ("tests", "bench") for path in (ROOT / place).rglob("*.py"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
BANNED = {"utils", "helpers", "common", "misc", "manager"}


def count_lines(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if len(node.body) > 1 and ast.get_docstring(node) else node.body[0]
            yield node.name, (node.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("path", [*PYTHON, *TESTED_AND_MEASURED], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_stays_below_400_lines(path: Path) -> None:
    assert count_lines([path]) <= 400


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_stays_below_50_lines(path: Path) -> None:
    assert [name for name, lines in functions(path) if lines > 50] == []


def test_modules_are_small_in_the_middle() -> None:
    sizes = sorted(count_lines([path]) for path in PYTHON)
    bodies = sorted(lines for path in PYTHON for _, lines in functions(path))

    assert sizes[len(sizes) // 2] <= 150
    assert bodies[len(bodies) // 2] <= 10


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in PYTHON if path.stem in BANNED] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_template_stays_below_200_lines(path: Path) -> None:
    assert count_lines([path]) <= 200


def test_own_javascript_and_css_stay_small() -> None:
    assert count_lines(sorted((ROOT / "static/js").glob("*.js"))) <= 300
    assert count_lines(sorted((ROOT / "static/css").glob("*.css"))) <= 1600
