"""Which worker listens to which queue."""

from __future__ import annotations

from webapp.core.status import QueueName

ALL_QUEUES = (QueueName.RESTORES, QueueName.DEFAULT, QueueName.BACKUPS, QueueName.NOTIFICATIONS, QueueName.CLOUD)


def queues_for(number: int, workers: int) -> tuple[QueueName, ...]:
    """What worker ``number`` (from 1) of so many listens to, the most urgent first.

    With two or more, the first one takes no backups: a restore or a connection test never waits behind a night of them.
    """
    if workers > 1 and number == 1:
        return tuple(name for name in ALL_QUEUES if name is not QueueName.BACKUPS)
    return ALL_QUEUES
