"""`make proof-integrity`: damage archives in thousands of ways; every one is flagged, and none reaches a target.

For each mutation of an archive or its side-car two questions are asked, as the product asks them: does a verification of the
stored archive fail, and does the restore's own gate (``engine.restore.run``) refuse it before anything is said to the target?
Every kind of target has its turn, and is a canary: an empty directory, or a socket that remembers whoever knocks. Intact archives
must pass both. Beside them stand the tools that people use instead, with what they would have missed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.proof.mutations import STRATA, Kind, Mutant, mutate
from tests.proof.specimens import Specimen, custom_specimens, zip_specimen
from tests.support.postgres import running_server
from webapp.core.errors import HoldfastError
from webapp.core.manifest import Manifest
from webapp.core.plans import OdooHttpPlan, PostgresPlan, Secret, TlsPlan
from webapp.core.restore_plans import RestoreOptions, RestorePlan
from webapp.core.status import ArchiveFormat, RestoreTarget, VerificationLevel
from webapp.engine.expectation import expectation_of_manifest
from webapp.engine.pgtools import find_tools
from webapp.engine.report import SilentReporter
from webapp.engine.restore import run as restore_run
from webapp.engine.restore.proof import require_verified
from webapp.engine.shelf import read_side_car
from webapp.engine.verify import verify_archive

TARGET_NAME = "target"


class Canary:
    """Something that listens where a target would. Whoever connects is noticed before it is answered."""

    def __init__(self) -> None:
        self.touched = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.touched += 1
                connection.close()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@contextmanager
def listening_canary() -> Iterator[Canary]:
    """A canary for as long as the block runs."""
    canary = Canary()
    try:
        yield canary
    finally:
        canary.close()


@dataclass(slots=True)
class Tally:
    """What became of the mutants of one kind and place."""

    tried: int = 0
    flagged: int = 0
    refused: int = 0
    touched: int = 0
    missed_by: Counter[str] = field(default_factory=Counter)
    escaped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One mutant."""

    mutant: Mutant
    flagged: bool
    refused: bool
    touched: bool
    missed_by: tuple[str, ...]


def believed_manifest(directory: Path, specimen: Specimen) -> Manifest | None:
    """As services.archives.find_manifest: the catalogue's row knows digest and size, whatever the side-car says."""
    manifest = read_side_car(str(directory), specimen.manifest.digest)
    if manifest is None:
        return None
    return replace(manifest, size_bytes=specimen.manifest.size_bytes, sha256=specimen.manifest.sha256)


def is_flagged(directory: Path, specimen: Specimen) -> bool:
    """Whether a verification of the stored archive fails."""
    manifest = believed_manifest(directory, specimen)
    if manifest is None:
        return True
    report = verify_archive(
        str(directory / specimen.file_name),
        expectation_of_manifest(manifest),
        VerificationLevel.COMPLETE,
        SilentReporter(),
        threads=1,
    )
    return not report.passed


def restore_plan(
    directory: Path, specimen: Specimen, manifest: Manifest, port: int, target: RestoreTarget
) -> RestorePlan:
    """To where the canary listens, or into the empty directory beside the archive."""
    server = PostgresPlan("127.0.0.1", port, "canary", Secret("canary"), sslmode="disable", is_odoo=manifest.is_odoo)
    odoo = OdooHttpPlan(f"http://127.0.0.1:{port}", Secret("canary"), tls=TlsPlan(allow_plain_http=True))
    piece = "public.res_users" if manifest.is_odoo else "public.t0"
    return RestorePlan(
        task_id=1,
        fence=1,
        archive_path=str(directory / specimen.file_name),
        archive_format=manifest.archive_format,
        manifest=manifest,
        target=target,
        options=RestoreOptions(
            with_filestore=False,
            piece=piece if target is RestoreTarget.TABLE else "",
            directory="" if target.is_database else str(directory / TARGET_NAME),
        ),
        database="canary",
        server=server if target in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE) else None,
        odoo=odoo if target is RestoreTarget.ODOO else None,
        temporary_name="canary__restoring_1_1",
        kept_name="canary__before",
    )


def is_refused(
    directory: Path, specimen: Specimen, canary: Canary, target: RestoreTarget = RestoreTarget.NEW_DATABASE
) -> tuple[bool, bool]:
    """Whether the restore ended with an error, and whether the target, or the journal of changes to it, was touched."""
    manifest = believed_manifest(directory, specimen)
    if manifest is None:  # services.archives.read_manifest raises before there is a plan
        return True, False
    journal: list[Mapping[str, Any]] = []
    before, into = canary.touched, directory / TARGET_NAME
    into.mkdir()
    plan = restore_plan(directory, specimen, manifest, canary.port, target)
    try:
        restore_run.run(plan, journal.append, SilentReporter())
    except HoldfastError:
        return True, canary.touched > before or bool(journal) or any(into.iterdir())
    return False, True


def passes(directory: Path, specimen: Specimen) -> bool:
    """Whether an intact archive is neither flagged nor refused."""
    manifest = believed_manifest(directory, specimen)
    if manifest is None or is_flagged(directory, specimen):
        return False
    try:
        plan = restore_plan(directory, specimen, manifest, 1, RestoreTarget.NEW_DATABASE)
        require_verified(plan, SilentReporter(), threads=1)
    except HoldfastError:
        return False
    return True


def other_tools(archive_format: ArchiveFormat) -> dict[str, list[str]]:
    """What people use instead: exit code 0 means that it found nothing."""
    if archive_format is ArchiveFormat.ZIP:
        return {"unzip -t": ["unzip", "-tqq"]}
    program = max(find_tools(), key=lambda tools: tools.major).program("pg_restore")
    return {"pg_restore -l": [program, "-l"], "full pg_restore": [program, "-f", "/dev/null"]}


def missed(tools: Mapping[str, Sequence[str]], path: Path) -> Iterator[str]:
    """The tools that find nothing wrong with the file."""
    for name, argv in tools.items():
        done = subprocess.run([*argv, str(path)], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            yield name


@dataclass(frozen=True, slots=True)
class Proof:
    """Numbers of one proof; archives lie below ``directory``."""

    specimens: Sequence[Specimen]
    directory: Path
    seed: int
    threads: int
    loud: bool = True

    def try_mutants(self, count: int) -> dict[tuple[Kind, str], Tally]:
        """``count`` mutations, each stratum as often as the others."""
        archive_format = self.specimens[0].manifest.archive_format
        tools = other_tools(archive_format)
        found: dict[tuple[Kind, str], Tally] = {stratum: Tally() for stratum in STRATA}
        with listening_canaries(self.threads) as canaries:

            def one(number: int) -> Outcome:
                canary = canaries.get()
                return self._try(number, canary, tools)

            for outcome in self._map(one, count, archive_format.value):
                _count(found[outcome.mutant.kind, outcome.mutant.place], outcome)
        return found

    def try_intact(self, count: int) -> int:
        """How many of ``count`` intact archives are flagged or refused."""

        def one(number: int) -> bool:
            specimen = self.specimens[number % len(self.specimens)]
            with self._place() as place:
                specimen.lay_down(place)
                return passes(place, specimen)

        return sum(not good for good in self._map(one, count, "intact"))

    def _try(self, number: int, canary: Canary, tools: Mapping[str, Sequence[str]]) -> Outcome:
        chance = random.Random(f"{self.seed} {number}")
        kind, where = STRATA[number % len(STRATA)]
        specimen, other = chance.sample(self.specimens, 2)
        mutant = mutate(specimen, other, kind, where, chance)
        with self._place() as place:
            specimen.lay_down(place, mutant.data, mutant.side_car)
            flagged = is_flagged(place, specimen)
            refused, touched = is_refused(place, specimen, canary, _target(number, specimen))
            # Of a side-car these tools know nothing, and another whole archive is whole for them.
            unseen = tuple(missed(tools, place / specimen.file_name)) if kind is not Kind.MANIFEST_EDIT else ()
        return Outcome(mutant, flagged, refused, touched, unseen)

    @contextmanager
    def _place(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            yield Path(place)

    def _map(self, one: Callable[[int], Any], count: int, what: str) -> Iterator[Any]:
        began = time.monotonic()
        with ThreadPoolExecutor(self.threads) as pool:
            for done, answer in enumerate(pool.map(one, range(count)), start=1):
                if self.loud and done % 250 == 0:
                    print(f"  {what}: {done} of {count}, {time.monotonic() - began:.0f} s", flush=True)
                yield answer


def _target(number: int, specimen: Specimen) -> RestoreTarget:
    """Each kind of target in turn, as far as it takes this format."""
    kinds = [RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE, RestoreTarget.TABLE, RestoreTarget.DIRECTORY]
    if specimen.manifest.archive_format is ArchiveFormat.ZIP:
        kinds += [RestoreTarget.ODOO, RestoreTarget.FILESTORE]
    return kinds[number // len(STRATA) % len(kinds)]


class _Canaries:
    """One canary per thread, so that a touch belongs to whoever made it."""

    def __init__(self) -> None:
        self._own = threading.local()
        self.all: list[Canary] = []

    def get(self) -> Canary:
        if not hasattr(self._own, "canary"):
            self._own.canary = Canary()
            self.all.append(self._own.canary)
        canary: Canary = self._own.canary
        return canary


@contextmanager
def listening_canaries(_threads: int) -> Iterator[_Canaries]:
    """Canaries for as many threads as ask."""
    canaries = _Canaries()
    try:
        yield canaries
    finally:
        for canary in canaries.all:
            canary.close()


def _count(tally: Tally, outcome: Outcome) -> None:
    tally.tried += 1
    tally.flagged += outcome.flagged
    tally.refused += outcome.refused
    tally.touched += outcome.touched
    tally.missed_by.update(outcome.missed_by)
    if not outcome.flagged or not outcome.refused or outcome.touched:
        tally.escaped.append(f"{outcome.mutant.kind}, {outcome.mutant.place}: {outcome.mutant.what}")


def print_table(archive_format: ArchiveFormat, found: Mapping[tuple[Kind, str], Tally]) -> int:
    """One line per kind and place, and the sum; how many mutants got through."""
    tools = list(other_tools(archive_format))
    heads = ["mutation", "where", "tried", "flagged", "refused", "touched", *(f"missed by {name}" for name in tools)]
    rows = [heads]
    total = Tally()
    for (kind, place), tally in found.items():
        rows.append(_row(kind.value, place, tally, tools))
        total.tried += tally.tried
        total.flagged += tally.flagged
        total.refused += tally.refused
        total.touched += tally.touched
        total.missed_by += tally.missed_by
        total.escaped += tally.escaped
    rows.append(_row("all", "", total, tools))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    print(f"\n{archive_format.value}")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in total.escaped[:20]:
        print(f"GOT THROUGH: {line}")
    return len(total.escaped)


def _row(kind: str, place: str, tally: Tally, tools: Sequence[str]) -> list[str]:
    edit = kind == Kind.MANIFEST_EDIT
    numbers = [tally.tried, tally.flagged, tally.refused, tally.touched]
    return [kind, place, *map(str, numbers), *("" if edit else str(tally.missed_by[name]) for name in tools)]


def prove(proof: Proof, mutants: int, intact: int) -> int:
    """Print what was found for one format; how many mutants got through, and how many intact archives did not."""
    archive_format = proof.specimens[0].manifest.archive_format
    through = print_table(archive_format, proof.try_mutants(mutants))
    alarms = proof.try_intact(intact)
    print(f"intact: {intact} tried, {alarms} false alarms", flush=True)
    return through + alarms


def main() -> int:
    """The whole proof; 0 when nothing got through and no alarm was false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000, help="per format")
    parser.add_argument("--intact", type=int, default=2000, help="per format")
    parser.add_argument("--contents", type=int, default=400, help="different archives per format to damage")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-integrity-") as directory:
        root = Path(directory)
        # Intact zips cost little to make, so each is another.
        zips = [zip_specimen(number, wanted.seed) for number in range(max(2, wanted.intact, wanted.contents))]
        bad = prove(Proof(zips, root, wanted.seed, wanted.threads), wanted.mutations, wanted.intact)
        with running_server() as server:
            dumps = list(custom_specimens(server, max(2, wanted.contents), wanted.seed))
        bad += prove(Proof(dumps, root, wanted.seed, wanted.threads), wanted.mutations, wanted.intact)
    print("proved" if not bad else f"NOT proved: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
