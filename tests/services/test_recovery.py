"""Recovery: everything but the archives (and perhaps a self-backup) is lost, and all of it comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask

from tests.services.test_backups import PASSWORD, Place, job_for
from tests.support.app import ALICE, Installation, RecordingQueue, build_installation, make_wiring, service_context
from tests.support.factories import make_instance, make_job, make_run
from tests.support.odoo_like import Database, OdooLike
from tests.support.odoo_zip import odoo_zip
from webapp.core.errors import Conflict, InvalidInput
from webapp.core.plans import Secret
from webapp.core.reports import CheckState
from webapp.core.status import (
    ArchiveOrigin,
    ArchiveState,
    InstanceKind,
    TaskStatus,
    VerificationLevel,
    VerificationStatus,
)
from webapp.services import archives, health, self_backups
from webapp.services.instance_plans import source_plan
from webapp.services.recovery import RecoveryWish, look, recover
from webapp.services.sweeper import sweep
from webapp.services.wiring import Wiring, install, wired
from webapp.store.db import db, writing
from webapp.store.models import Archive, Instance, Job, Run, User
from webapp.vault import Vault

PASSPHRASE = Secret("a passphrase of some length")


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A migrated database with nobody in it: the new machine."""
    return build_installation(tmp_path_factory.mktemp("blank"), with_cast=False)


@pytest.fixture
def lost(service: Flask, wiring: Wiring) -> Path:
    """The archive directory of an installation that ran: two good archives, one in quarantine; then its database is gone."""
    keys = (Fernet.generate_key().decode(),)
    (wiring.data_directory / "vault.key").write_text(keys[0] + "\n")
    install(replace(wiring, vault=Vault(keys), self_backup_passphrase=PASSPHRASE))
    with OdooLike(master_password=PASSWORD) as odoo:
        odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme"))
        place = Place(odoo, job_for(odoo).id)
        place.back_up()
        self_backups.execute_self_backup(self_backups.request_self_backup(actor=ALICE, now=clock()).id, clock=clock)
        place.back_up()
        odoo.databases["acme"] = Database(zip_bytes=odoo_zip("acme", with_filestore=False))
        place.back_up()
    db.session.remove()
    return wiring.archive_directory


@pytest.fixture
def machine(lost: Path, blank: Installation, tmp_path: Path) -> Iterator[Path]:
    """Services on the new machine; the archives were carried over."""
    data = tmp_path / "new"
    wiring = make_wiring(data, RecordingQueue())
    shutil.rmtree(data / "archives")
    with service_context(blank.restore(wiring)):
        yield lost


def wish(directory: Path, **values: object) -> RecoveryWish:
    return replace(RecoveryWish(str(directory)), **values)  # type: ignore[arg-type]


def rows(model: type) -> list:  # type: ignore[type-arg]
    db.session.expire_all()
    return list(db.session.scalars(sa.select(model).order_by(model.id)))


def test_looking_changes_nothing(machine: Path) -> None:
    before = sorted(str(path) for path in machine.rglob("*"))

    report = look(wish(machine))

    assert (report.archives, report.known, report.applied) == (3, 0, False)
    assert len(report.self_backups) == 1
    assert rows(Archive) == []
    assert sorted(str(path) for path in machine.rglob("*")) == before
    assert not wired().archive_directory.exists()


def test_side_cars_alone_bring_every_restore_point_back(machine: Path) -> None:
    report = recover(wish(machine), now=clock())

    found = rows(Archive)
    assert (report.archives, report.instances, report.damaged, report.unknown) == (3, ["acme-prod"], [], [])
    assert {archive.origin for archive in found} == {ArchiveOrigin.RECOVERED}
    assert [archive.state for archive in found] == [ArchiveState.STORED, ArchiveState.STORED, ArchiveState.QUARANTINED]
    assert [run.status for run in rows(Run)] == [TaskStatus.COMPLETED, TaskStatus.COMPLETED, TaskStatus.FAILED]
    assert all(archive.run_id is not None for archive in found)
    numbers = [archive.id for archive in found[:2]]
    for archive in found[:2]:
        assert (archive.verification_status, archive.verification_level) == (
            VerificationStatus.PASSED,
            VerificationLevel.COMPLETE,
        )
        assert Path(archives.file_path(archive)).exists()
    for number in numbers:
        task = archives.request_verification(number, level=VerificationLevel.COMPLETE, actor=ALICE, now=clock())
        archives.execute_verification(task.id, clock=clock)
        assert archives.get_archive(number).verification_status is VerificationStatus.PASSED


def test_placeholders_keep_their_number_and_wait_for_their_secrets(machine: Path) -> None:
    recover(wish(machine), now=clock())

    (instance,) = rows(Instance)
    assert (instance.id, instance.slug, instance.kind) == (1, "acme-prod", InstanceKind.ODOO_HTTP)
    assert (instance.databases, instance.master_password) == (["acme"], None)
    assert instance.paused_at is not None
    source_plan(instance)
    assert archives.newest_verified(1, "acme") is not None


def test_twice_is_the_same_as_once(machine: Path) -> None:
    recover(wish(machine), now=clock())
    before = [(archive.id, archive.relative_path) for archive in rows(Archive)]

    report = recover(wish(machine), now=clock())

    assert (report.archives, report.known, report.instances) == (0, 3, [])
    assert [(archive.id, archive.relative_path) for archive in rows(Archive)] == before
    assert len(rows(Instance)) == 1


def test_the_sweeper_and_later_runs_leave_recovered_archives_alone(machine: Path) -> None:
    recover(wish(machine), now=clock())
    numbers = [run.id for run in rows(Run)]

    sweep(clock())
    job = make_job(rows(Instance)[0], clock())
    run = make_run(job, clock())

    assert run.id > max(numbers)
    assert [archive.state for archive in rows(Archive)][:2] == [ArchiveState.STORED, ArchiveState.STORED]
    assert len(list(machine.glob("*-acme-prod/*/manifest.json"))) == 2
    assert {archive.job_id for archive in rows(Archive)} == {None}  # no retention rule of a job reaches them


def test_what_is_damaged_or_unknown_is_said_and_left_alone(machine: Path) -> None:
    one, two = sorted(machine.glob("1-acme-prod/*"))
    (one / "manifest.json").write_text("{}")
    archive = next(two.glob("*.zip"))
    archive.write_bytes(archive.read_bytes()[:-1])
    (machine / "1-acme-prod" / "photos").mkdir()
    (machine / "lost + found").mkdir()

    report = recover(wish(machine), now=clock())

    assert [trouble.directory for trouble in report.damaged] == [f"1-acme-prod/{one.name}", f"1-acme-prod/{two.name}"]
    assert [trouble.directory for trouble in report.unknown] == ["1-acme-prod/photos", "lost + found"]
    assert "bytes" in report.damaged[1].why
    assert (report.archives, len(rows(Archive))) == (1, 1)


def test_numbers_that_others_took_meanwhile_stay_theirs(machine: Path) -> None:
    other = make_instance(clock(), "newcomer")
    make_run(make_job(other, clock()), clock())
    number = other.id

    recover(wish(machine), now=clock())

    kept, placeholder = rows(Instance)
    assert (kept.id, kept.slug) == (number, "newcomer")
    assert {archive.instance_id for archive in rows(Archive)} == {placeholder.id}
    assert next(archive.run_id for archive in rows(Archive)) is None
    assert recover(wish(machine), now=clock()).instances == []


def test_a_self_backup_brings_users_jobs_and_passwords_back_and_what_is_newer_is_adopted(machine: Path) -> None:
    report = recover(wish(machine, self_backup="newest", passphrase=PASSPHRASE), now=clock())

    assert (report.known, report.archives, report.instances) == (1, 2, [])
    assert report.keys == "The vault's keys were put into vault.key."
    assert [user.username for user in rows(User)] == ["alice", "bob", "charlie"]
    assert len(rows(Job)) == 1
    assert [archive.origin for archive in rows(Archive)] == [
        ArchiveOrigin.BACKUP,
        ArchiveOrigin.RECOVERED,
        ArchiveOrigin.RECOVERED,
    ]
    keys = (wired().data_directory / "vault.key").read_text().split()
    install(replace(wired(), vault=Vault(keys)))
    plan = source_plan(rows(Instance)[0])
    assert plan.master_password.reveal() == PASSWORD  # type: ignore[union-attr]


def test_the_archive_directory_of_the_new_machine_is_the_old_one(machine: Path) -> None:
    recover(wish(machine), now=clock())

    assert wired().archive_directory.resolve() == machine.resolve()
    assert health.check(clock()).checks[-1].state is CheckState.PASSED


def test_without_the_passphrase_everything_but_passwords_comes_back(machine: Path) -> None:
    report = recover(wish(machine, self_backup="newest"), now=clock())

    assert "--passphrase-file" in report.keys
    assert not (wired().data_directory / "vault.key").exists()
    assert len(rows(Archive)) == 3


def test_a_catalogue_that_holds_anything_is_never_replaced(machine: Path) -> None:
    make_instance(clock(), "newcomer")

    with pytest.raises(Conflict, match="not empty"):
        recover(wish(machine, self_backup="newest"), now=clock())

    assert [instance.slug for instance in rows(Instance)] == ["newcomer"]


def test_a_damaged_self_backup_changes_nothing(machine: Path) -> None:
    (copy,) = machine.glob("self/*/holdfast.*")
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)

    with pytest.raises(Exception, match="not as it was written"):
        recover(wish(machine, self_backup="newest", passphrase=PASSPHRASE), now=clock())

    assert rows(Archive) == []
    assert not (wired().data_directory / "vault.key").exists()


def test_nothing_is_recovered_under_a_running_holdfast(machine: Path) -> None:
    health.record_beat("worker", "w1", started_at=clock(), now=clock(), details={})

    with pytest.raises(Conflict, match="running"):
        recover(wish(machine), now=clock())

    assert recover(wish(machine), now=clock() + timedelta(minutes=2)).archives == 3


def test_another_archive_directory_in_use_is_not_given_up(machine: Path) -> None:
    (wired().archive_directory / "2-other").mkdir(parents=True)

    with pytest.raises(Conflict, match="keeps its archives"):
        look(wish(machine))
    with pytest.raises(InvalidInput):
        look(wish(machine / "nowhere"))


def test_a_run_that_was_at_work_when_the_copy_was_made_is_settled(machine: Path, lost: Path) -> None:
    recover(wish(machine, self_backup="newest", passphrase=PASSPHRASE), now=clock())
    second = rows(Archive)[1]
    with writing() as session:
        run = session.get_one(Run, second.run_id)
        run.status, run.lease_until = TaskStatus.RUNNING, clock() - timedelta(hours=1)
        session.delete(session.get_one(Archive, second.id))

    recover(wish(machine), now=clock())
    sweep(clock())

    assert {run.status for run in rows(Run)} == {TaskStatus.COMPLETED, TaskStatus.FAILED}
    assert len(rows(Archive)) == 3


def test_a_side_car_that_claims_nonsense_proves_nothing(machine: Path) -> None:
    for side_car in machine.glob("1-acme-prod/*/manifest.json"):
        data = json.loads(side_car.read_text())
        data["verification"]["level"] = "perfect"
        data["started_at"] = data["snapshot_at"] = "2999-01-01T00:00:00+00:00"
        side_car.write_text(json.dumps(data))

    recover(wish(machine), now=clock())

    for archive in rows(Archive)[:2]:
        assert archive.verification_status is VerificationStatus.NOT_RUN
        assert archive.taken_at <= clock()
