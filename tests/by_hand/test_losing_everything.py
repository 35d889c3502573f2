"""All is lost but the archive directory and the passphrase: the catalogue comes back, and so does every archive in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.by_hand.script import restore_by_hand
from tests.cli.conftest import Shell, bare_shell, data_directory
from tests.support.app import Installation, RecordingQueue, make_wiring, service_context
from tests.support.database_restores import files_below, hashes, new_plan
from tests.support.factories import make_instance, make_job, make_run
from tests.support.odoo_database import OdooDatabase
from tests.support.postgres import PASSWORD, SUPERUSER, PostgresServer
from tests.support.restore_pieces import Shelved
from webapp.core.plans import Secret
from webapp.core.status import ArchiveFormat, Content, FilestoreKind, InstanceKind, RestoreOutcome, TaskStatus
from webapp.engine.report import SilentReporter
from webapp.engine.restore import run as restore_run
from webapp.engine.shelf import read_side_car
from webapp.services import backups
from webapp.services.instance_plans import secret_context
from webapp.services.wiring import wired
from webapp.store.db import db, writing
from webapp.store.models import Instance, Run

__all__ = ["bare_shell", "data_directory"]
pytestmark = pytest.mark.slow


def clock() -> datetime:
    return datetime.now(UTC)


def back_up(archive_format: ArchiveFormat, content: Content) -> None:
    job = make_job(db.session.scalars(sa.select(Instance)).one(), clock(), format=archive_format, content=content)
    run = make_run(job, clock(), database_name="prod", content=content, format=archive_format)
    backups.execute_run(run.id, clock=clock)
    db.session.commit()
    assert db.session.get_one(Run, run.id, populate_existing=True).status is TaskStatus.COMPLETED


@pytest.fixture
def archives(
    installation: Installation, postgres_server: PostgresServer, prod: OdooDatabase, scratch: Path
) -> Iterator[Path]:
    """What is left: an archive directory, filled by real runs of both formats, carried to another place."""
    wiring = make_wiring(scratch / "old", RecordingQueue())
    with service_context(installation.restore(wiring)):
        instance = make_instance(
            clock(),
            kind=InstanceKind.ODOO_POSTGRES,
            pg_host="127.0.0.1",
            pg_port=postgres_server.port,
            pg_user=SUPERUSER,
            databases=["prod"],
            filestore_kind=FilestoreKind.LOCAL,
            filestore_path=str(prod.filestore.parent),
        )
        with writing() as session:
            row = session.get_one(Instance, instance.id)
            row.pg_password = wired().vault.seal(Secret(PASSWORD), secret_context(row, "pg_password"))
        back_up(ArchiveFormat.ZIP, Content.DATABASE_AND_FILESTORE)
        back_up(ArchiveFormat.CUSTOM, Content.DATABASE)
    shutil.move(scratch / "old/archives", scratch / "carried")
    shutil.rmtree(scratch / "old")
    return scratch / "carried"


def test_every_archive_is_listed_and_restored_by_holdfast_and_by_hand(
    archives: Path,
    bare_shell: Shell,
    postgres_server: PostgresServer,
    second_server: PostgresServer,
    prod: OdooDatabase,
    scratch: Path,
) -> None:
    shown = bare_shell.json("recover", "--archives", str(archives))
    done = bare_shell.json("recover", "--archives", str(archives), "--yes")
    listed = bare_shell.json("archive", "list")["archives"]

    assert (shown["archives"], shown["applied"]) == (2, False)
    assert (done["archives"], done["damaged"], done["unknown"]) == (2, [], [])
    assert len(listed) == 2
    kept = {name: data for name, data in files_below(prod.filestore).items() if name in prod.names}
    truth = hashes(postgres_server, "prod")
    for number, archive in enumerate(listed):
        path = Path(bare_shell("archive", "path", str(archive["id"])).out.strip())
        manifest = read_side_car(str(path.parent))
        assert manifest is not None
        by_us, by_hand = f"by_us_{number}", f"by_hand_{number}"
        files = scratch / f"files_{number}"
        with_files = manifest.has_filestore

        server = second_server.plan(files if with_files else None)
        files.mkdir()
        result = restore_run.run(
            new_plan(Shelved(str(path), manifest), server, by_us), lambda _entry: None, SilentReporter()
        )
        said = restore_by_hand(second_server, path.parent, by_hand, scratch / by_hand if with_files else None)

        assert result.outcome is RestoreOutcome.CREATED
        assert (said.returncode, said.stderr) == (0, "")
        assert hashes(second_server, by_us) == hashes(second_server, by_hand) == truth
        if with_files:
            assert files_below(files / by_us) == files_below(scratch / by_hand) == kept
        second_server.drop_database(by_us)
        second_server.drop_database(by_hand)


def test_the_command_says_what_it_would_do_and_what_it_did(archives: Path, bare_shell: Shell) -> None:
    shown = bare_shell("recover", "--archives", str(archives))
    done = bare_shell("recover", "--archives", str(archives), "--yes")
    again = bare_shell("recover", "--yes")

    assert shown.out.splitlines() == [
        "2 archives to add, 0 known already.",
        "Nothing was changed. Run it again with --yes.",
    ]
    assert "2 archives added, 0 known already." in done.out
    assert "Instances to complete (paused, without passwords): acme-prod." in done.out
    assert "0 archives added, 2 known already." in again.out
    assert bare_shell("recover", "--archives", str(archives / "nowhere")).code == 2
