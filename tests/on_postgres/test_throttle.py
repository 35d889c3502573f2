"""First tries at the same moment, each in a transaction of its own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError

from tests.support.app_on_postgres import PostgresInstallation
from webapp.services import throttle
from webapp.store.db import writing
from webapp.store.models import Throttle

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_first_tries_at_the_same_moment_all_count(installation: PostgresInstallation) -> None:
    errors: list[DBAPIError] = []
    together = threading.Barrier(4)

    def guess() -> None:
        with installation.app.app_context():
            together.wait(20)
            try:
                with writing() as session:
                    throttle.count_try(session, "mallory", "203.0.113.9", now=NOW)
            except DBAPIError as error:
                errors.append(error)

    threads = [threading.Thread(target=guess) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    with installation.app.app_context(), writing() as session:
        assert session.get_one(Throttle, "address:203.0.113.9").failures == 4
