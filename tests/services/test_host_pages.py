"""What the list of hosts shows, and what it asks of the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.app import ALICE
from tests.support.host_pages import HOST, seed_host
from webapp.services.connection_tests import find_newest_test, newest_tests, request_connection_test
from webapp.services.host_pages import list_host_rows
from webapp.services.instances import create_instance
from webapp.services.snapshots import newest_of, newest_of_each
from webapp.store.db import db, writing
from webapp.store.models import Task

pytestmark = pytest.mark.usefixtures("service")


def add_hosts(number: int, now: datetime) -> list[int]:
    drafts = [replace(HOST, name=f"web-1{each:02}") for each in range(number)]
    return [create_instance(draft, actor=ALICE, now=now).id for draft in drafts]


def test_the_newest_of_each_are_those_of_each_by_itself(now: datetime, tmp_path: Path) -> None:
    seeded = [
        seed_host(tmp_path / name, now, name=name, backup_root=str(tmp_path / "root")).instance_id
        for name in ("web-01", "web-02")
    ]
    ids = [*seeded, *add_hosts(1, now)]
    for minutes in (0, 1):
        for instance_id in ids[:2]:
            request_connection_test(instance_id, actor=ALICE, now=now + timedelta(minutes=minutes))
            with writing() as session:
                session.execute(sa.update(Task).values(status="completed"))

    snapshots, tests = newest_of_each(ids), newest_tests(ids)

    assert list(snapshots) == list(tests) == seeded
    for instance_id in seeded:
        assert snapshots[instance_id] is newest_of(instance_id)
        assert tests[instance_id] is find_newest_test(instance_id)


def test_the_list_takes_the_same_few_queries_whatever_its_length(now: datetime) -> None:
    add_hosts(12, now)
    db.session.commit()
    db.session.expunge_all()
    asked: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))

    rows = list_host_rows(now)

    assert len(rows) == 12
    assert len(asked) <= 22, asked
