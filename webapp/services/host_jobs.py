"""Jobs of hosts: what such a job may say, and those that ride along with an Odoo to keep its odd ends."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from webapp.store.db import db
from webapp.store.models import Instance, Job


def riding_with(instance_id: int) -> Sequence[Job]:
    """The live host jobs that keep the odd ends of an Odoo instance, by name; each one's own instance is the host."""
    query = (
        sa.select(Job)
        .join(Job.instance)
        .where(Job.rides_with_id == instance_id, Job.deleted_at.is_(None), Instance.deleted_at.is_(None))
    )
    return db.session.scalars(query.order_by(sa.func.lower(Job.name), Job.id)).all()
