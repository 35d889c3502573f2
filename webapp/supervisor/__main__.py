"""Starts Holdfast whole: see ``main``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from webapp.core.errors import HoldfastError, QueueDown
from webapp.queue.connection import connect, errors_as_queue_down, shown_address
from webapp.queue.layout import queues_for
from webapp.queue.server import LOG_NAME, find_server, make_private, server_command, set_broken_files_aside, socket_path
from webapp.settings import VERSION, Settings, read_settings
from webapp.supervisor.children import Child, Family
from webapp.supervisor.web import LOOPBACK, web_address, web_answers, web_command

REDIS_START_SECONDS = 20.0
REDIS_TRIES = 3
WEB_FIRST_SECONDS = 10.0
STOP_SECONDS = 20.0
REDIS_STOP_SECONDS = 10.0


class CannotStart(HoldfastError):
    """Something that Holdfast needs is not there."""

    permanent = True


@dataclass(frozen=True, slots=True)
class Migrated:
    """What the child that migrates told: the path of the setup page while nobody is set up, else ""."""

    setup_path: str


def main(environment: Mapping[str, str] | None = None) -> int:
    """Start everything and stay until told to stop: 0 after a stop, 1 when it could not start.

    1. Lock the data directory, so that nobody starts twice on it; look whether the port is free.
    2. Bring the database up to date, in a child that ends.
    3. Start the Redis-compatible server, unless REDIS_URL names one, and wait until it answers.
    4. Start the web; once it answers say where, and start scheduler and workers.
    5. Start again whatever ends.
    6. At Ctrl-C or SIGTERM stop all, Redis last. When we are killed instead, the kernel ends our children (Linux).
    """
    try:
        settings = read_settings(environment)
        with locked(settings.data_directory):
            settings = replace(settings, port=claim_port(settings.host, settings.port))
            return _run(settings, dict(os.environ if environment is None else environment))
    except HoldfastError as error:
        print(f"holdfast: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"HINT: {error.hint}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """The data directory is ours while the block runs. Raises CannotStart when another Holdfast has it."""
    with (directory / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"Holdfast is already running on this data directory: {directory}.",
                hint="Use that one, stop it, or set HOLDFAST_DATA_DIR to another directory.",
            ) from None
        yield


def claim_port(host: str, port: int) -> int:
    """The port if it is free (0: any that is). Raises CannotStart naming the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"Cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}.",
                hint="Stop what listens there, or choose another with PORT (and HOST), e.g. PORT=8080 holdfast up.",
            ) from None
        return int(probe.getsockname()[1])


def _run(settings: Settings, environment: dict[str, str]) -> int:
    environment |= {
        "HOLDFAST_DATA_DIR": str(settings.data_directory),
        "PORT": str(settings.port),
        "PYTHONUNBUFFERED": "1",
    }
    family = Family(environment)
    family.listen_for_signals()
    redis = _redis(settings) if settings.redis_embedded else None
    try:
        migrated = migrate(environment)
        _start_redis(family, settings, redis)
        family.start(Child("web", web_command(settings)))
        _watch(family, settings, redis, migrated)
    finally:
        family.say("holdfast", "stopping")
        family.stop([child for child in family.children if child is not redis], STOP_SECONDS)
        if redis is not None:
            family.stop([redis], REDIS_STOP_SECONDS)
    family.say("holdfast", "stopped")
    return 0


def migrate(environment: Mapping[str, str]) -> Migrated:
    """Apply migrations in a child. Raises CannotStart with what it said."""
    command = [sys.executable, "-m", "webapp.cli", "migrate", "--json", "--with-setup-path"]
    done = subprocess.run(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise CannotStart("The database is not ready; the lines above say why.", hint="Try: holdfast doctor")
    return Migrated(json.loads(done.stdout)["setup_path"])


def _redis(settings: Settings) -> Child:
    directory, address = settings.data_directory / "redis", socket_path(settings.redis_url)
    make_private(directory)
    if address.parent != settings.data_directory:
        make_private(address.parent)
    return Child("redis", server_command(find_server(None, _ask_version), address, directory))


def _ask_version(program: str) -> str:
    try:
        return subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _start_redis(family: Family, settings: Settings, redis: Child | None) -> None:
    """Wait until Redis answers; one that is not ours may be late. Raises CannotStart when ours does not come up."""
    if redis is None:
        if not redis_answers(settings.redis_url):
            family.say("holdfast", f"Redis at {shown_address(settings.redis_url)} does not answer; going on without it")
        return
    socket_path(settings.redis_url).unlink(missing_ok=True)
    family.start(redis)
    deadline = time.monotonic() + REDIS_START_SECONDS
    while not redis_answers(settings.redis_url):
        if time.monotonic() > deadline or family.stop_wishes:
            raise CannotStart(
                "The Redis-compatible server does not come up.",
                hint=f"{settings.data_directory / 'redis' / LOG_NAME} says why.",
            )
        family.step(0.05)
        _mend_redis(family, settings, family.revive())


def _mend_redis(family: Family, settings: Settings, ended: list[Child]) -> None:
    """A server that ends again and again at its start cannot read its files: let it start empty."""
    hopeless = any(child.name == "redis" and child.quick_ends >= REDIS_TRIES for child in ended)
    if hopeless and set_broken_files_aside(settings.data_directory / "redis", f"{int(time.time())}"):
        family.say("holdfast", "Redis cannot read its files; set them aside. Pending tasks are pushed again.")


def redis_answers(url: str) -> bool:
    """Whether Redis does what it is asked now."""
    try:
        with errors_as_queue_down(), contextlib.closing(connect(url)) as client:
            return bool(client.ping())
    except QueueDown:
        return False


def _others(settings: Settings) -> list[Child]:
    ours = [sys.executable, "-m", "webapp.cli"]
    workers = [
        Child(f"worker-{number}", [*ours, "worker", "--queues", ",".join(queues_for(number, settings.workers))])
        for number in range(1, settings.workers + 1)
    ]
    return [Child("scheduler", [*ours, "scheduler"]), *workers]


def _watch(family: Family, settings: Settings, redis: Child | None, migrated: Migrated) -> None:
    others, said = _others(settings), False
    others_by = time.monotonic() + WEB_FIRST_SECONDS
    while not family.stop_wishes:
        family.step(0.2)
        ended = family.revive()
        if redis in ended:
            _mend_redis(family, settings, ended)
        if not said and web_answers(settings.host, settings.port):
            print(banner(settings, migrated), flush=True)
            said = True
        if others and (said or time.monotonic() > others_by):  # all at once would keep a small machine from answering
            for child in others:
                family.start(child)
            others = []


def banner(settings: Settings, migrated: Migrated) -> str:
    """What a person wants to know once everything runs."""
    address = web_address(settings.host, settings.port)
    everywhere = "  (and on every other address of this machine)" if settings.host in LOOPBACK else ""
    lines = [
        "",
        f"Holdfast {VERSION} is running.",
        "",
        f"  Address         {address}/{everywhere}",
        f"  Data directory  {settings.data_directory}",
        f"  Archives        {settings.archive_directory}",
        f"  Queue           {shown_address(settings.redis_url)}",
    ]
    if migrated.setup_path:
        lines += [
            "",
            "  Nobody is set up yet. Open this link to make the first admin:",
            f"    {address}{migrated.setup_path}",
        ]
    return "\n".join([*lines, "", "  Stop with Ctrl-C.", ""])


if __name__ == "__main__":
    sys.exit(main())
