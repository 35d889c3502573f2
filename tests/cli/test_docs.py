"""The reference of settings and commands says what the program does."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from webapp.cli import make_parser
from webapp.commands.pobsync import spell_out

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield ()
    for group in groups:
        for name, below in group.choices.items():
            for rest in verbs(below):
                yield (name, *rest)


def test_every_setting_is_described_and_nothing_else() -> None:
    read = set(re.findall(r'"([A-Z][A-Z_]+)"', (ROOT / "webapp/settings.py").read_text()))
    names = {name for name in read if name.startswith("HOLDFAST_") or name in _PLAIN}
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))

    assert described == names
    assert names > _PLAIN


_PLAIN = {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "SECRET_KEY"}


def test_every_variable_of_the_example_and_the_compose_file_exists() -> None:
    described = (ROOT / "docs/settings.md").read_text()
    texts = (ROOT / ".env.example").read_text() + (ROOT / "docker-compose.yml").read_text()

    for name in set(re.findall(r"HOLDFAST_[A-Z_]+", texts)) - {"HOLDFAST_TAG"}:
        assert f"`{name}`" in described, name


def test_every_command_is_in_the_manual() -> None:
    rows = [row for row in OPERATIONS.splitlines() if row.startswith("| `holdfast ")]
    for noun, *rest in verbs(make_parser()):
        row = next((row for row in rows if f"`holdfast {noun}" in row), "")
        assert row, noun
        assert all(f"{verb}`" in row for verb in rest), (noun, rest)


def test_the_manual_names_no_command_that_is_not_there() -> None:
    known = {found[0] for found in verbs(make_parser())}

    assert set(re.findall(r"`holdfast ([a-z-]+)", OPERATIONS)) <= known


FENCES = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines(page: Path) -> Iterator[str]:
    """Whole ``holdfast`` commands: lines of code blocks, and of tables those that name a host or an option."""
    text = page.read_text()
    for block in FENCES.findall(text):
        yield from re.findall(r"^ *(?:\$ )?(holdfast .+)$", block, re.MULTILINE)
    for command in re.findall(r"`(holdfast [^`]+)`", FENCES.sub("", text)):
        if re.search(r" (web-01|418|--\w)", command) and "[" not in command:
            yield command


def test_there_are_command_lines_to_look_at() -> None:
    assert sum(1 for page in PAGES for _ in command_lines(page)) > 40


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_of_the_docs_is_understood(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in command_lines(document):
        words = shlex.split(line.replace("--accept SHA256:…", "--accept SHA256"), comments=True)[1:]
        if "…" in words or any(word.isupper() and word.isalpha() and len(word) > 2 for word in words):
            continue  # a form, not a command
        with contextlib.suppress(SystemExit):
            make_parser().parse_args(spell_out(words))
        said = capsys.readouterr().err
        assert said == "", f"{line}\n{said}"
