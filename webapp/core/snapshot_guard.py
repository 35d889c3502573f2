"""Whether a snapshot may take its place: a source that lost most of its files is looked at by a person first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from webapp.core.text import format_count, format_files_and_links, plural, strip_controls

# Of fewer files a share says little.
LEAST_BASE_FILES = 20
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Losses:
    """What a tree lacks beside its base.

    Attributes:
        base_files: Files and links that the base has.
        gone_files: Those of them that are not there any more.
        emptied: Directories that held many files in the base and hold none now, with how many they were.
        missing_sentinels: Files that must be in every snapshot and are not.
    """

    base_files: int = 0
    gone_files: int = 0
    emptied: Sequence[tuple[str, int]] = ()
    missing_sentinels: Sequence[str] = ()


def refusal_of(losses: Losses, shrink_percent: int | None) -> str:
    """Why a tree with these losses is not to be promoted, as a sentence; "" when it may be.

    ``shrink_percent`` None: a person has agreed that files are gone, or there is nothing to compare with; a sentinel file is
    asked for all the same.
    """
    if losses.missing_sentinels:
        shown = _listed([_shown(path) for path in losses.missing_sentinels])
        word = plural(len(losses.missing_sentinels), "The sentinel file is", "Sentinel files are")
        return f"{word} not on the host: {shown}."
    if shrink_percent is None:
        return ""
    if losses.emptied:
        shown = _listed([f"{_shown(path)} ({format_files_and_links(count)} before)" for path, count in losses.emptied])
        return f"A directory is empty as if its disk were not mounted: {shown}."
    if is_shrunk(losses.base_files, losses.gone_files, shrink_percent):
        percent = losses.gone_files * 100 // losses.base_files
        gone, base = format_count(losses.gone_files), format_files_and_links(losses.base_files)
        return f"{gone} of the {base} of the snapshot before are gone ({percent} %; {shrink_percent} % are allowed)."
    return ""


def is_shrunk(base_files: int, gone_files: int, percent: int) -> bool:
    """Whether more than ``percent`` of the base's files are gone; never of a base with few."""
    return base_files >= LEAST_BASE_FILES and gone_files * 100 > percent * base_files


def _shown(path: str) -> str:
    return strip_controls(path)[:200]


def _listed(items: Sequence[str]) -> str:
    more = f" and {format_count(len(items) - _SHOWN)} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
