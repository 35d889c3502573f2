"""The reference of settings and commands says what the program does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from webapp.cli import make_parser

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
