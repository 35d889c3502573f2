"""What the docs say that could be wrong: codes, names, links, commands.

Settings and the ``holdfast`` verbs are compared in tests/cli/test_docs.py, the side-car's fields in tests/core/test_manifest.py,
task paths in tests/queue.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from webapp.core.status import ErrorCode, TaskStatus, TaskType
from webapp.settings import VERSION

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")

each_document = pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def prose(document: Path) -> str:
    """The page without code."""
    return CODE.sub("", FENCES.sub("", document.read_text()))


def code(document: Path) -> str:
    """The code of the page alone: blocks and words."""
    text = document.read_text()
    return "\n".join([*FENCES.findall(text), *CODE.findall(FENCES.sub("", text))])


def links(document: Path) -> Iterator[str]:
    """Targets of links and pictures, Markdown's and HTML's."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(document))
    yield from re.findall(r"\b(?:src|srcset|href)=\"([^\"\s]+)\"", prose(document))


def anchors(document: Path) -> set[str]:
    """The anchors that headings get on code hosts."""
    heads = re.findall(r"^#+ (.+)$", FENCES.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_document
def test_every_link_and_picture_leads_somewhere(document: Path) -> None:
    lost = []
    for target in links(document):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)

    assert lost == []


@each_document
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", code(document), re.MULTILINE))

    assert named <= known


@each_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    places = r"(?:webapp|tests|docs|bench|docker|templates|static|migrations|\.ci)"
    named = set(re.findall(rf"`({places}/[\w./-]*\w/?)`", document.read_text()))

    examples = {"webapp/utils.py", "bench/results"}
    assert {name for name in named if not (ROOT / name).exists() and name.strip("/") not in examples} == set()


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}

    assert {page for page in PAGES if page.parent.name in ("docs", "decisions")} - {index} <= listed


def test_every_error_code_is_described_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (ROOT / "docs/error-codes.md").read_text(), re.MULTILINE)
    words = [word for word, _ in rows]

    assert sorted(words) == sorted(ErrorCode)
    for word, said in rows:
        assert all(cell.strip() for cell in said.split(" | ")), word


def test_every_word_of_the_api_is_described() -> None:
    text = (ROOT / "docs/api.md").read_text()

    for word in (*TaskStatus, *TaskType):
        assert f"`{word}`" in text, word


def test_the_api_reference_names_every_address_and_no_other() -> None:
    routes = ROOT / "webapp/web/routes"
    source = (
        (routes / "api.py")
        .read_text()
        .replace('(f"{STATUS}', '("/admin/background-tasks')
        .replace("(STATUS)", '("/admin/background-tasks")')
    )
    served = {(verb.upper(), f"/api/v1{path}") for verb, path in re.findall(r"@bp\.(get|post)\(\"([^\"]*)\"", source)}
    bare = {(verb, re.sub(r"<int:\w+>", "<id>", path)) for verb, path in served}

    described = set(re.findall(r"`(GET|POST) (/api/v1[^`?]*)", (ROOT / "docs/api.md").read_text()))

    assert described == bare


def test_the_navigation_uses_words_of_the_glossary_only() -> None:
    template = (ROOT / "templates/_layout/base.html").read_text()
    labels = re.findall(r"entry\('\w+', url_for\('[\w.]+'\), '[\w-]+', '([^']+)'", template)
    terms = set(re.findall(r"\*\*([^*]+)\*\*", (ROOT / "docs/glossary.md").read_text()))

    assert len(labels) >= 8
    assert set(labels) <= terms


def test_changelog_and_licence_are_those_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert package["version"] == VERSION
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()
    assert package["license"] == "GPL-3.0-or-later"
    assert "GNU GENERAL PUBLIC LICENSE\n                       Version 3" in (ROOT / "LICENSE").read_text()
