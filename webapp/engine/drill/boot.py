"""The last question of a drill: does a real Odoo start with the restored database? Its command is the operator's."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.core.reports import Check, CheckState
from webapp.core.text import format_duration, strip_controls, tail_lines
from webapp.engine.drill.cluster import Cluster, create_meeting_place
from webapp.engine.drill.questions import failed
from webapp.engine.process import Ending, ProcessFailed, run
from webapp.engine.report import Reporter

BOOT_SECONDS = 1800
_TITLE = "Odoo starts"


def check_boot(cluster: Cluster, command: Sequence[str], reporter: Reporter) -> Check:
    """Run the command in the cage, with the database in its environment (PGHOST …); it must end with 0.

    Never where there is a network: an Odoo that is not neutralised would send the letters it finds waiting.
    """
    if not cluster.cage.has_no_network:
        detail = "Not tried: this kernel gives us no network of our own, so the Odoo might reach the real one."
        return Check("boot", _TITLE, CheckState.SKIPPED, detail)
    create_meeting_place(cluster)
    try:
        done = run(
            cluster.cage.argv(command), env=cluster.environment(), timeout_seconds=BOOT_SECONDS, reporter=reporter
        )
    except ProcessFailed as error:
        what = (
            f"did not end within {format_duration(BOOT_SECONDS)}" if error.ending is Ending.TIMEOUT else error.message
        )
        return failed("boot", _TITLE, f"The command {what}.", hint="Let it stop by itself: --stop-after-init.")
    said = strip_controls(tail_lines(done.stderr_tail, 3, 400))
    if done.returncode != 0:
        detail = f"The command ended with {done.returncode}. It said: {said}"
        return failed(
            "boot", _TITLE, detail, hint="Try the same command by hand; see docs/drills.md for its surroundings."
        )
    return Check("boot", _TITLE, CheckState.PASSED, "The command started with the restored database and ended with 0.")
