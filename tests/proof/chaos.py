"""Part two of `make proof-crash`: a whole installation at work, and somebody who kills, pauses and wipes at random.

Jobs of every minute on several instances, and people who press «Run now», keep two workers busy, while two schedulers share the
calendar. Afterwards every minute of every job must have its slot, every slot its run, every run its end, and every success
its archive; and at no moment may a run have been «running» for longer than lease and sweep allow.
"""

from __future__ import annotations

import collections
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.proof.aftermath import check_aftermath, summarise_aftermath
from tests.proof.installation import LEASE_SECONDS, RECONCILE_SECONDS, Installation, command_of, running_installation
from tests.proof.invariants import check_server
from tests.proof.nemesis import Nemesis
from tests.proof.stage import DATABASE, KEY, Stage, answer_in_child, in_child
from tests.support.app import ALICE, service_context
from tests.support.factories import make_instance, make_job
from tests.support.postgres import PASSWORD, SUPERUSER
from webapp.assembly import bare_app
from webapp.core.errors import HoldfastError
from webapp.core.plans import Secret
from webapp.core.status import Content, DatabaseSelection, FilestoreKind, InstanceKind, OverlapPolicy
from webapp.services import jobs
from webapp.services.sweeper import GRACE
from webapp.store.db import db
from webapp.store.models import Instance, Job
from webapp.vault import Vault
from webapp.worker import SWEEP_SECONDS

INSTANCES = 6
PAUSE = (0.2, 1.5)
ASK_SECONDS = 1.5
QUIET_SECONDS = 240.0
ORPHAN_SECONDS = 3.0
# A lease that ran out is settled by the first sweep after the sweeper's grace, if a scheduler is there to sweep; one that comes
# back needs a moment to start, and sweeps first thing. We look once a second.
LONGEST_STALE_SECONDS = SWEEP_SECONDS + GRACE.total_seconds() + RECONCILE_SECONDS + 4.0


@dataclass(slots=True)
class Seen:
    """What was seen while it went on."""

    longest_stale: float = 0.0
    longest_unswept: float = 0.0
    most_running: int = 0
    samples: int = 0
    doubled: set[str] = field(default_factory=set)
    orphans: dict[int, float] = field(default_factory=dict)
    lasting_orphans: set[str] = field(default_factory=set)

    def look(self, installation: Installation) -> None:
        """One sample: how stale the stalest lease is, whether two work on one target, who has no parent."""
        now = datetime.now(UTC).replace(tzinfo=None)
        query = (
            "SELECT task.id, task.lease_until, task.instance_id, run.exclusive FROM task LEFT JOIN run ON run.id = task.id"
            " WHERE task.status = 'running'"
        )
        rows = installation.ask(query)
        self.samples += 1
        self.most_running = max(self.most_running, len(rows))
        for _, lease_until, _, _ in rows:
            if lease_until is not None:
                stale = (now - datetime.fromisoformat(str(lease_until))).total_seconds()
                self.longest_stale = max(self.longest_stale, stale)
                self.longest_unswept = max(self.longest_unswept, min(stale, installation.scheduler_up_seconds()))
        busy = collections.Counter(instance for _, _, instance, exclusive in rows if exclusive)
        self.doubled |= {
            f"instance {instance} had {count} runs at once" for instance, count in busy.items() if count > 1
        }
        self._look_for_orphans(installation)

    def _look_for_orphans(self, installation: Installation) -> None:
        now, found = time.monotonic(), installation.orphans()
        self.orphans = {pid: self.orphans.get(pid, now) for pid in found}
        self.lasting_orphans |= {
            f"an orphan lives on: {command_of(pid)}"
            for pid, since in self.orphans.items()
            if now - since > ORPHAN_SECONDS
        }

    def broken(self) -> list[str]:
        """What was seen and may not be."""
        found = sorted(self.doubled | self.lasting_orphans)
        if self.longest_unswept > LONGEST_STALE_SECONDS:
            found.append(
                f"a task was running {self.longest_unswept:.1f} s after its lease with a scheduler at work; "
                f"{LONGEST_STALE_SECONDS:.0f} s are allowed"
            )
        return found


def run_chaos(stage: Stage, *, kills: int, seed: int) -> list[str]:
    """Torment an installation with ``kills`` blows, let it recover, and list what is broken."""
    place = stage.sandbox("chaos")
    enabled_at = answer_in_child(place, lambda: furnish(stage, place))
    seen = Seen()
    with running_installation(place) as installation:
        nemesis = Nemesis(installation, random.Random(seed))
        began = time.monotonic()
        torment(installation, nemesis, seen, kills)
        tormented = time.monotonic() - began
        disabled_at = calm_down(installation, nemesis, seen)
        broken = wait_for_quiet(installation, seen)
        quiet = time.monotonic() - began - tormented
        broken += installation.stop()
        seen.look(installation)
        starts = sum(member.starts for member in installation.members)
    broken += seen.broken()
    broken += [f"left over: {command_of(pid)}" for pid in installation.orphans()]
    broken += answer_in_child(place, lambda: check_aftermath(enabled_at, disabled_at))
    broken += check_server(stage)
    print(f"chaos: {nemesis.done.total()} blows in {tormented:.0f} s, seed {seed}; quiet {quiet:.0f} s later")
    print("  " + ", ".join(f"{count} × {name}" for name, count in nemesis.done.most_common()))
    print(f"  {starts} process starts; at most {seen.most_running} tasks at work; {seen.samples} samples")
    print(
        f"  longest time a task was running after its lease ({LEASE_SECONDS} s) had ended: {seen.longest_stale:.1f} s; "
        f"of these with a scheduler at work: {seen.longest_unswept:.1f} s"
    )
    for line in answer_in_child(place, summarise_aftermath):
        print(f"  {line}")
    return broken


def furnish(stage: Stage, place: Path) -> str:
    """More instances over the same server, jobs of every minute with every overlap policy. When they began to count."""
    now = datetime.now(UTC)
    first = db.session.get_one(Instance, 1)
    policies = list(OverlapPolicy)
    with_files = {"filestore_kind": FilestoreKind.LOCAL, "filestore_path": first.filestore_path}
    for number in range(INSTANCES):
        uid = f"proof-{number}"
        instance = make_instance(
            now,
            name=f"acme-{number}",
            uid=uid,
            kind=InstanceKind.ODOO_POSTGRES,
            databases=[DATABASE],
            pg_port=stage.server.port,
            pg_user=SUPERUSER,
            pg_password=Vault([KEY]).seal(Secret(PASSWORD), f"instance:{uid}:pg_password"),
            **with_files,
        )
        _job(instance, now, name="Every minute", overlap_policy=policies[number % len(policies)])
        if number < 2:
            _job(instance, now, name="Every minute, too", overlap_policy=OverlapPolicy.QUEUE)
        if number == 2:
            _job(
                instance,
                now,
                name="Every minute, all",
                database_selection=DatabaseSelection.ALL,
                content=Content.DATABASE,
            )
    return now.isoformat()


def _job(instance: Instance, now: datetime, **values: object) -> Job:
    given = {"content": Content.DATABASE_AND_FILESTORE, "retries": 8, "retry_delay_seconds": 0, "retention_value": 2}
    return make_job(instance, now, cron="* * * * *", **{**given, **values})


def torment(installation: Installation, nemesis: Nemesis, seen: Seen, kills: int) -> None:
    """Blow after blow, with people asking for runs in between."""
    began = next_ask = time.monotonic()
    next_blow = began + 2.0
    while nemesis.done.total() < kills:
        now = time.monotonic()
        if now >= next_blow and nemesis.strike():
            next_blow = time.monotonic() + nemesis.chance.uniform(*PAUSE)
            if nemesis.done.total() % 50 == 0:
                print(f"  {nemesis.done.total()} blows after {time.monotonic() - began:.0f} s", flush=True)
        if now >= next_ask:
            ask_for_a_run(installation, nemesis.chance)
            next_ask = now + ASK_SECONDS
        step(installation, nemesis, seen)


def step(installation: Installation, nemesis: Nemesis | None, seen: Seen) -> None:
    """A moment: revive what ended, look once a second."""
    installation.revive()
    if nemesis is not None:
        nemesis.wake()
    if time.monotonic() >= installation.next_look:
        seen.look(installation)
        installation.next_look = time.monotonic() + 1.0
    time.sleep(0.05)


def ask_for_a_run(installation: Installation, chance: random.Random) -> None:
    """Somebody presses «Run now»; if the answer is late, we do not wait for it."""
    job_id = chance.randrange(1, INSTANCES + 4)

    def ask() -> None:
        with service_context(bare_app(installation.settings)):
            try:
                jobs.run_now(job_id, actor=ALICE, now=datetime.now(UTC))
            except HoldfastError as error:
                print(f"run now of job {job_id}: {error.message}", flush=True)

    installation.visitors.append(in_child(ask))


def calm_down(installation: Installation, nemesis: Nemesis, seen: Seen) -> str:
    """Nobody strikes any more; in the middle of a minute, when its slots are settled, the jobs are disabled. When that was."""
    nemesis.wake(all_of_them=True)
    while not 20 <= datetime.now(UTC).second <= 40:
        step(installation, None, seen)

    def disable() -> str:
        now = datetime.now(UTC)
        for job_id in [job.id for job in jobs.list_jobs()]:
            jobs.set_enabled(job_id, False, actor=ALICE, now=now)
        return now.isoformat()

    return answer_in_child(installation.place, disable)


def wait_for_quiet(installation: Installation, seen: Seen) -> list[str]:
    """Until no task waits or runs."""
    deadline = time.monotonic() + QUIET_SECONDS
    query = "SELECT id, type, status, attempt, progress_message FROM task WHERE status IN ('pending', 'running')"
    while waiting := installation.ask(query):
        if time.monotonic() > deadline:
            return [f"not quiet after {QUIET_SECONDS:.0f} s: task {row}" for row in waiting]
        step(installation, None, seen)
    return []
