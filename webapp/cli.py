"""The shell's door: ``holdfast NOUN VERB``. Each verb calls one service; ``--json`` answers in stable shapes.

Exit codes: 0 done; 1 it failed, or what was waited for did; 2 wrong usage or a value that cannot be used; 3 there is no such
thing; 4 the thing is busy or changed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from webapp import logs
from webapp.assembly import bare_app
from webapp.commands import (
    archives,
    doctor,
    drills,
    host_jobs,
    hosts,
    instances,
    jobs,
    pobsync,
    processes,
    recover,
    restores,
    retention,
    runs,
    self_backups,
    snapshots,
    users,
)
from webapp.commands.base import Answer, Context, Verb
from webapp.core.errors import Conflict, HoldfastError, InvalidInput, NotFound
from webapp.settings import VERSION, Settings, read_settings
from webapp.store.migrate import attach_migrations, check_migrated

logger = logging.getLogger(__name__)

EXIT_CODES: tuple[tuple[type[HoldfastError], int], ...] = ((InvalidInput, 2), (NotFound, 3), (Conflict, 4))
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Do one verb. Returns the exit code; answers go to standard output, everything else to standard error."""
    words = sys.argv[1:] if argv is None else argv
    arguments = make_parser().parse_args(pobsync.spell_out(words))
    try:
        answer = _do(arguments)
        _show(answer, arguments)
    except HoldfastError as error:
        return _complain(error, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # the shell's side of the three broad excepts
        logger.exception("the command raised")
        return _complain(
            HoldfastError("Something unexpected went wrong inside Holdfast; the lines above say more."), arguments
        )
    return answer.code


def make_parser() -> argparse.ArgumentParser:
    """All nouns and verbs."""
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="Backups of Odoo, PostgreSQL and hosts, on schedule, verified, visible.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or value, 3 not found, 4 busy or changed, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"holdfast {VERSION}")
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="COMMAND")
    for module in (
        processes,
        users,
        instances,
        hosts,
        jobs,
        host_jobs,
        runs,
        snapshots,
        archives,
        restores,
        drills,
        retention,
        pobsync,
        self_backups,
        recover,
        doctor,
    ):
        module.register(nouns)
    return parser


def _do(arguments: argparse.Namespace) -> Answer:
    settings = read_settings()
    context, run = Context(settings), cast(Verb, arguments.run)
    if arguments.database == "none":
        logs.set_up(settings.log_level)
        return run(context, arguments)
    app = bare_app(_quieter(settings))
    attach_migrations(app)
    with app.app_context():
        if arguments.database == "migrated":
            check_migrated()
        return run(context, arguments)


def _quieter(settings: Settings) -> Settings:
    """A verb's answer is not mixed with the steps on the way to it."""
    return settings if settings.log_level in ("DEBUG", "ERROR") else replace(settings, log_level="WARNING")


def _show(answer: Answer, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(answer.data, indent=2, ensure_ascii=False))
    elif answer.text:
        print(answer.text)
    sys.stdout.flush()


def _complain(error: HoldfastError, arguments: argparse.Namespace) -> int:
    if arguments.json:
        shape: dict[str, Any] = {"error": {"code": str(error.code), "message": error.message, "hint": error.hint}}
        print(json.dumps(shape, indent=2, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"holdfast: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"HINT: {error.hint}", file=sys.stderr)
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


if __name__ == "__main__":
    sys.exit(main())
