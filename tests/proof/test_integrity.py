"""A sample of `make proof-integrity`: small enough for every day, and a check that the harness can see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.proof.integrity import Proof, Tally, is_refused, listening_canary, other_tools
from tests.proof.mutations import STRATA, Kind
from tests.proof.specimens import Specimen, custom_specimens, zip_specimen
from tests.support.postgres import running_server
from webapp.core.status import RestoreTarget

pytestmark = pytest.mark.slow
SEED = 20261122
EACH = 6 * len(STRATA)


@pytest.fixture(scope="module")
def zips() -> list[Specimen]:
    return [zip_specimen(number, SEED) for number in range(30)]


@pytest.fixture(scope="module")
def dumps() -> list[Specimen]:
    with running_server() as server:
        return list(custom_specimens(server, 6, SEED))


def escaped(found: Mapping[tuple[Kind, str], Tally]) -> list[str]:
    return [line for tally in found.values() for line in tally.escaped]


def test_every_damaged_zip_is_flagged_and_none_reaches_a_target(zips: list[Specimen], tmp_path: Path) -> None:
    proof = Proof(zips, tmp_path, SEED, threads=2, loud=False)

    found = proof.try_mutants(EACH)

    assert escaped(found) == []
    assert sum(tally.flagged for tally in found.values()) == EACH
    assert sum(tally.missed_by["unzip -t"] for tally in found.values()) > 0
    assert proof.try_intact(60) == 0


def test_every_damaged_dump_is_flagged_and_none_reaches_a_target(dumps: list[Specimen], tmp_path: Path) -> None:
    proof = Proof(dumps, tmp_path, SEED, threads=2, loud=False)

    found = proof.try_mutants(EACH // 2)

    assert escaped(found) == []
    listed = sum(tally.missed_by["pg_restore -l"] for tally in found.values())
    parsed = sum(tally.missed_by["full pg_restore"] for tally in found.values())
    assert listed > parsed > 0
    assert proof.try_intact(20) == 0
    assert set(other_tools(dumps[0].manifest.archive_format)) == {"pg_restore -l", "full pg_restore"}


@pytest.mark.parametrize(
    "target", [kind for kind in RestoreTarget if kind not in (RestoreTarget.ATTACHMENT, RestoreTarget.REPLACE)]
)
def test_the_canary_notices_a_restore_that_passes_the_gate(
    zips: list[Specimen], tmp_path: Path, target: RestoreTarget
) -> None:
    zips[0].lay_down(tmp_path)
    with listening_canary() as canary:
        refused, touched = is_refused(tmp_path, zips[0], canary, target)

    assert touched
    assert refused is (target in (RestoreTarget.NEW_DATABASE, RestoreTarget.ODOO))  # the canary answers nobody
