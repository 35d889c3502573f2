"""Icons, inlined: no icon font, no sprite, no extra request, and they take the colour of the text beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

_DRAWING = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
_OPENING = (
    '<svg class="{classes}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"'
    ' stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">'
)

Icon = Callable[..., Markup]


def build_icon(folder: Path) -> Icon:
    """Read the vendored drawings once and answer with the ``icon(name, cls='')`` that templates call.

    The icon is decoration: the word beside it, or the label of its button, says the same. An unknown name is a
    LookupError that says where drawings come from.
    """
    drawings = {path.stem: _drawing(path) for path in sorted(folder.glob("*.svg"))}

    def icon(name: str, cls: str = "") -> Markup:
        """The drawing called ``name`` as inline SVG."""
        if name not in drawings:
            raise LookupError(f"There is no icon {name!r} in {folder}; add it to static/vendor/MANIFEST.json.")
        opening = _OPENING.format(classes=Markup.escape(f"ico {cls}".strip()))
        return Markup(opening + drawings[name] + "</svg>")  # noqa: S704 - our own files

    return icon


def _drawing(path: Path) -> str:
    found = _DRAWING.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path} is not an SVG drawing.")
    return re.sub(r"\s+", " ", found.group(1)).replace("> <", "><").strip()
