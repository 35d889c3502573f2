"""One pull: rsync brings the trees of a host into an unfinished snapshot, and what it said is understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from webapp.core.snapshot_plans import HostPlan
from webapp.core.status import ErrorCode
from webapp.engine.report import Reporter


@dataclass(frozen=True, slots=True)
class Transfer:
    """What rsync did. ``unreadable_paths`` are the first thousand; ``digest`` is "xxh128" or "md5": that of the log.

    ``options`` are the words rsync was given, without those that only say how to reach the host.
    """

    digest: str
    transferred_bytes: int
    transfer_seconds: float
    vanished: int = 0
    unreadable: int = 0
    unreadable_paths: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[ErrorCode, str], ...] = ()


def pull(
    plan: HostPlan, data: str, base_tree: str | None, *, digests: BinaryIO, reporter: Reporter, digest: str = ""
) -> Transfer:
    """Bring the plan's paths into the directory ``data``; files that equal those in ``base_tree`` become hard links to them.

    To ``digests`` goes one record for each file that came, in the order of arrival: ``<digest> <size>/<path>`` and a NUL, the
    path relative to ``data`` with its bytes as they are; a later record of a path stands for an earlier one. ``digest`` is the
    kind that the base's list has ("" for none): it is kept where the host can.

    Raises SourceError as ``docs/error-codes.md`` says; what came stays in ``data`` for the next attempt.
    """
    raise NotImplementedError
