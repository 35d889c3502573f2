"""``holdfast recover``: the catalogue after everything but the archives was lost."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import asdict

from webapp.commands.base import Answer, Context, Parsers, add_verb, read_text
from webapp.core.plans import NO_SECRET, Secret
from webapp.services.recovery import RecoveryReport, RecoveryWish, look, recover

_SHOWN = 20


def register(parsers: Parsers) -> None:
    """Add the verb."""
    verb = add_verb(
        parsers, "recover", do_recover, "rebuild the catalogue from the archives' own manifests", database="any"
    )
    verb.add_argument("--archives", metavar="DIR", help="where the archives are (default: the archive directory)")
    verb.add_argument(
        "--self-backup", default="", metavar="COPY", help="put this one back first: newest, a name, or its directory"
    )
    verb.add_argument(
        "--passphrase-file", metavar="FILE", help="what the keys in it were sealed with; - for standard input"
    )
    verb.add_argument("--yes", action="store_true", help="do it; without, it is only shown")


def do_recover(context: Context, arguments: Namespace) -> Answer:
    """Show what there is, or do it."""
    path = arguments.passphrase_file
    passphrase = Secret(read_text(path).strip()) if path else NO_SECRET
    directory = arguments.archives or str(context.settings.archive_directory)
    keys_given = any(os.environ.get(name) for name in ("HOLDFAST_VAULT_KEYS", "HOLDFAST_VAULT_KEYS_FILE"))
    wish = RecoveryWish(directory, arguments.self_backup, passphrase, keys_given)
    report = recover(wish, now=context.now()) if arguments.yes else look(wish)
    return Answer(asdict(report), "\n".join(_lines(report)))


def _lines(report: RecoveryReport) -> list[str]:
    done = report.applied
    lines = []
    if report.put_back:
        lines.append(f"{'Put back' if done else 'Would put back'} the self-backup {report.put_back}. {report.keys}")
    elif report.self_backups and not done:
        lines.append(f"The store holds a self-backup: --self-backup {report.self_backups[0]} puts it back first.")
    lines.append(f"{report.archives} archives {'added' if done else 'to add'}, {report.known} known already.")
    if report.instances:
        lines.append(f"Instances to complete (paused, without passwords): {', '.join(report.instances)}.")
    lines += [f"damaged  {one.directory}: {one.why}" for one in report.damaged[:_SHOWN]]
    lines += [f"unknown  {one.directory}: {one.why}" for one in report.unknown[:_SHOWN]]
    hidden = max(0, len(report.damaged) - _SHOWN) + max(0, len(report.unknown) - _SHOWN)
    if hidden:
        lines.append(f"and {hidden} more; --json lists all.")
    lines.append("Done. Start Holdfast: holdfast up" if done else "Nothing was changed. Run it again with --yes.")
    return lines
