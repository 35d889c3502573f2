"""What browsers get: vendored files as published, our own without anything the policy would refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.vendor import VENDOR, digest, read_manifest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
CODE = [*TEMPLATES, *sorted((ROOT / "webapp").rglob("*.py"))]
COMMENTS = re.compile(r"{#.*?#}", re.DOTALL)

name_of = lambda path: str(path.relative_to(ROOT))  # noqa: E731 - an id function for parametrize


def source(path: Path) -> str:
    return COMMENTS.sub("", path.read_text())


def test_every_vendored_file_is_what_the_manifest_says() -> None:
    wanted = {name: entry["sha384"] for package in read_manifest() for name, entry in package["files"].items()}

    found = {str(path.relative_to(VENDOR)): digest(path) for path in VENDOR.rglob("*") if path.is_file()}

    found.pop("MANIFEST.json")
    assert found == wanted


def test_every_vendored_package_comes_with_its_version_and_licence() -> None:
    for package in read_manifest():
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), package["name"]
        assert package["licence"]
        assert any(name.endswith("/LICENSE") for name in package["files"]), package["name"]


def test_every_icon_named_in_the_code_is_vendored() -> None:
    known = {path.stem for path in (VENDOR / "lucide").glob("*.svg")}

    named = {name for path in TEMPLATES for name in re.findall(r"\bicon\('([a-z0-9-]+)'", source(path))}

    assert named
    assert named <= known


def test_every_vendored_icon_is_used() -> None:
    words = set()
    for path in CODE:
        words |= set(re.findall(r"""['"]([a-z0-9-]+)['"]""", path.read_text()))

    unused = {path.stem for path in (VENDOR / "lucide").glob("*.svg")} - words

    assert unused == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_a_template_has_no_inline_style_script_or_handler(path: Path) -> None:
    text = source(path)

    assert not re.search(r"<style\b", text)
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"<[a-z][^>{}]*\son[a-z]+\s*=", text)
    assert not re.search(r"javascript:", text, re.IGNORECASE)
    assert re.findall(r"<script\b(?![^>]*\bsrc=)", text) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_a_template_stays_in_the_neutral_subset_of_htmx(path: Path) -> None:
    text = source(path)

    for word in ("hx-boost", "hx-on", "hx-headers", "hx-vals='js", ":inherited", "hx-disinherit"):
        assert word not in text
    if path.name != "ui.html":
        assert "outerMorph" not in text, "the version's word is swap_morph"


@pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
def test_every_form_that_posts_carries_the_csrf_token(path: Path) -> None:
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", source(path), re.DOTALL):
        assert "csrf_token" in form or "forms.hidden(" in form, form[:120]


def test_style_sheets_fetch_from_this_server_only() -> None:
    for path in sorted((ROOT / "static" / "css").glob("*.css")):
        for target in re.findall(r"url\(([^)]*)\)", path.read_text()):
            assert target.startswith('"../vendor/'), f"{path.name}: {target}"
            assert (path.parent / target.strip('"')).resolve().is_file(), f"{path.name}: {target}"


def test_colours_of_text_stand_out_from_their_ground() -> None:
    tokens = (ROOT / "static" / "css" / "tokens.css").read_text()
    pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w+), #\w+\)", tokens))
    dark = dict(re.findall(r"--([\w-]+): light-dark\(#\w+, (#\w+)\)", tokens))

    for theme in (pairs, dark):
        for ground in ("bg", "surface", "surface-2"):
            for ink in ("text", "text-2", "text-3", "accent"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
        for state in ("ok", "warn", "fail", "run", "idle"):
            assert contrast(theme[state], theme[f"{state}-soft"]) >= 4.5, state


def contrast(first: str, second: str) -> float:
    """WCAG 2.2's ratio of two colours."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
