"""An archive beside the one before it: a collapse in size, rows or attachments is a warning, whatever else is right."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.core.plans import Previous
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, VerificationLevel
from webapp.core.text import format_count, format_size

# A database that halves overnight has lost something, or somebody should know what was cleaned up.
COLLAPSE = 0.5
# Below this a change of half means nothing.
SMALLEST_BYTES = 64 * 1024
SMALLEST_COUNT = 20


@dataclass(frozen=True, slots=True)
class Measures:
    """An archive in numbers; None for what is not known."""

    size_bytes: int
    row_total: int | None
    attachment_count: int | None


def compare(now: Measures, before: Previous) -> Check:
    """One check over all measures that both archives know."""
    findings = list(_collapses(now, before))
    day = f"{before.taken_at:%Y-%m-%d %H:%M}"
    if findings:
        return Check(
            key="comparison",
            title="Much smaller than before",
            state=CheckState.WARNING,
            detail=f"Since {day}: " + "; ".join(text for text, _ in findings) + ".",
            value=_change(now.size_bytes, before.size_bytes),
            hint="Look whether data was deleted on purpose. Older archives are kept as the retention rule says.",
            code=findings[0][1],
            level=VerificationLevel.COMPLETE,
        )
    return Check(
        key="comparison",
        title="Compared with the one before",
        state=CheckState.PASSED,
        detail=f"{format_size(before.size_bytes)} on {day}, {format_size(now.size_bytes)} now.",
        value=_change(now.size_bytes, before.size_bytes),
        level=VerificationLevel.COMPLETE,
    )


def _collapses(now: Measures, before: Previous) -> list[tuple[str, ErrorCode]]:
    found = []
    if before.size_bytes >= SMALLEST_BYTES and now.size_bytes < before.size_bytes * COLLAPSE:
        text = f"the archive shrank from {format_size(before.size_bytes)} to {format_size(now.size_bytes)}"
        found.append((text, ErrorCode.SIZE_COLLAPSED))
    for what, then, count, code in (
        ("rows", before.row_total, now.row_total, ErrorCode.ROWS_COLLAPSED),
        ("attachment files", before.attachment_count, now.attachment_count, ErrorCode.ATTACHMENTS_MISSING),
    ):
        if then is not None and count is not None and then >= SMALLEST_COUNT and count < then * COLLAPSE:
            found.append((f"{what} fell from {format_count(then)} to {format_count(count)}", code))
    return found


def _change(now: int, before: int) -> str:
    sign = "+" if now >= before else "−"
    return f"{sign}{format_size(abs(now - before))}"
