"""``holdfast up``, and the processes it starts, one by one: web, worker, scheduler; ``migrate`` and ``wait`` before them."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from dataclasses import replace

from webapp.commands.base import Answer, Context, Parsers, add_verb, ago, moment
from webapp.core.errors import HoldfastError, InvalidInput, QueueDown
from webapp.core.status import QueueName
from webapp.queue.connection import connect, errors_as_queue_down, shown_address
from webapp.queue.layout import ALL_QUEUES
from webapp.services import health, setup
from webapp.settings import Settings
from webapp.store.db import release
from webapp.store.migrate import DatabaseNotReady, check_migrated, upgrade
from webapp.store.revision import wanted_revision
from webapp.supervisor.web import web_command
from webapp.worker import name_prefix, run_scheduler, run_worker

WAIT_SECONDS = 300
LONGEST_INTERVAL_SECONDS = 30  # what a new or changed job may wait for at most, as the settings say too
WAIT_FOR = ("database", "redis")


def register(parsers: Parsers) -> None:
    """Add the verbs."""
    add_verb(parsers, "up", up, "start everything, and stay until Ctrl-C", with_json=False, database="none")
    migrate = add_verb(parsers, "migrate", migrate_database, "bring the database up to date", database="any")
    migrate.add_argument("--with-setup-path", action="store_true", help="also tell the path of the setup page")
    add_verb(parsers, "web", web, "serve the pages", with_json=False, database="none")
    worker = add_verb(parsers, "worker", work, "do what the queue says", with_json=False, database="none")
    worker.add_argument("--queues", default="", help=f"some of {', '.join(ALL_QUEUES)}; the most urgent first")
    worker.add_argument("--burst", action="store_true", help="end when the queues are empty")
    scheduler = add_verb(
        parsers, "scheduler", schedule, "fill the queue from the calendar", with_json=False, database="none"
    )
    scheduler.add_argument("--loop", action="store_true", help="go on until told to stop, which it always does")
    scheduler.add_argument(
        "--interval",
        type=int,
        metavar="SECONDS",
        help=f"look so often, 1 to {LONGEST_INTERVAL_SECONDS}; more counts as that",
    )
    alive = add_verb(
        parsers, "alive", check_alive, "exit code 1 unless a process of this machine lives", database="any"
    )
    alive.add_argument("kind", choices=["worker", "scheduler"])
    wait = add_verb(parsers, "wait", wait_for_others, "wait until database and Redis can be used", database="any")
    wait.add_argument("--seconds", type=int, default=WAIT_SECONDS, help="fail after so long (%(default)s)")
    wait.add_argument("--for", dest="things", default=",".join(WAIT_FOR), help="what to wait for (%(default)s)")


def up(_context: Context, _arguments: Namespace) -> Answer:
    """Become the supervisor: a fresh process that holds neither Flask nor the database in memory."""
    os.execv(sys.executable, [sys.executable, "-m", "webapp.supervisor"])  # noqa: S606


def web(context: Context, _arguments: Namespace) -> Answer:
    """Become the web server."""
    command = web_command(context.settings)
    os.execv(command[0], command)  # noqa: S606


def migrate_database(context: Context, arguments: Namespace) -> Answer:
    """Apply what is missing."""
    applied = upgrade()
    revision = wanted_revision()
    data: dict[str, object] = {"applied": applied, "revision": revision}
    if arguments.with_setup_path:
        token = setup.ensure_setup_token(context.now())
        data["setup_path"] = "" if token is None else setup.setup_path(token)
    said = "brought up to date" if applied else "up to date already"
    return Answer(data, f"The database is {said} (revision {revision}).")


def work(context: Context, arguments: Namespace) -> Answer:
    """Be a worker."""
    names = [name.strip() for name in arguments.queues.split(",") if name.strip()]
    unknown = sorted(set(names) - set(QueueName))
    if unknown:
        raise InvalidInput(f"There is no queue {unknown[0]}.", hint=f"Queues: {', '.join(ALL_QUEUES)}.")
    run_worker(context.settings, names or ALL_QUEUES, burst=arguments.burst)
    return Answer(None, "")


def schedule(context: Context, arguments: Namespace) -> Answer:
    """Be the scheduler."""
    run_scheduler(scheduler_settings(context.settings, arguments.interval))
    return Answer(None, "")


def scheduler_settings(settings: Settings, interval: int | None) -> Settings:
    """The settings with another interval, None for their own. Raises InvalidInput below one second."""
    if interval is None:
        return settings
    if interval < 1:
        raise InvalidInput("The interval must be at least one second.", field="interval")
    return replace(settings, reconcile_seconds=min(interval, LONGEST_INTERVAL_SECONDS))


def check_alive(context: Context, arguments: Namespace) -> Answer:
    """Whether a worker or scheduler of this machine (or container) has beaten lately: for container health checks."""
    last = health.newest_beat(arguments.kind, name_prefix(arguments.kind))
    alive = last is not None and context.now() - last < health.SCHEDULER_IS_SILENT_AFTER
    text = f"{arguments.kind}: last sign of life {ago(last, context.now())}"
    return Answer({"alive": alive, "at": moment(last)}, text, 0 if alive else 1)


def wait_for_others(context: Context, arguments: Namespace) -> Answer:
    """Wait; fail with what is still missing when it takes too long."""
    things = [thing.strip() for thing in arguments.things.split(",") if thing.strip()]
    if not set(things) <= set(WAIT_FOR):
        raise InvalidInput(f"--for takes {' and '.join(WAIT_FOR)}.")
    deadline, said = time.monotonic() + arguments.seconds, ""
    while True:
        missing = _first_missing(context, things)
        if missing is None:
            return Answer({"ready": True}, "Ready.")
        if missing.message != said:
            said = missing.message
            print(f"waiting: {said}", file=sys.stderr, flush=True)
        if time.monotonic() >= deadline:
            raise HoldfastError(f"Waited {arguments.seconds} s in vain. {missing.message}", hint=missing.hint)
        time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))


def _first_missing(context: Context, things: list[str]) -> HoldfastError | None:
    try:
        if "database" in things:
            check_migrated()
        if "redis" in things:
            with errors_as_queue_down():
                connect(context.settings.redis_url).ping()
    except DatabaseNotReady as error:
        return error
    except QueueDown as error:
        return QueueDown(f"{error.message} ({shown_address(context.settings.redis_url)})", hint=error.hint)
    finally:
        release()
    return None
