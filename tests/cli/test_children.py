"""Children are started, heard, started again and ended; none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.redis import is_alive, kill_quietly, wait_for
from webapp.supervisor.children import Child, Family

ROOT = Path(__file__).parents[2]


@pytest.fixture
def family() -> Family:
    return Family(dict(os.environ))


def python(name: str, code: str) -> Child:
    return Child(name, [sys.executable, "-u", "-c", textwrap.dedent(code)])


def step_until(family: Family, condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        family.step(0.05)


def test_what_children_print_carries_their_name(family: Family, capfd: pytest.CaptureFixture[str]) -> None:
    child = python("web", "import sys; print('one'); print('two', file=sys.stderr); print('half', end='')")
    family.start(child)
    step_until(family, lambda: not child.is_running)

    family.stop([child], 5)

    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["web       | half", "web       | one", "web       | two"]


def test_what_ends_is_started_again_with_growing_pauses(family: Family, capfd: pytest.CaptureFixture[str]) -> None:
    child = python("worker-1", "raise SystemExit(3)")
    family.start(child)

    pids, ends = {child.process.pid if child.process else 0}, 0
    deadline = time.monotonic() + 10
    while ends < 3 and time.monotonic() < deadline:
        family.step(0.05)
        ends += len(family.revive())
        assert child.process is not None
        pids.add(child.process.pid)
    family.stop([child], 5)

    said = capfd.readouterr().err
    assert len(pids) == 3
    assert "ended (exit code 3); starting it again in 0 s" in said
    assert "starting it again in 2 s" in said


def test_one_child_that_keeps_ending_does_not_delay_another(family: Family) -> None:
    bad, good = python("bad", "raise SystemExit(1)"), python("good", "import time; time.sleep(60)")
    for child in (bad, good):
        family.start(child)
    step_until(family, lambda: bool(family.revive()))

    assert good.process is not None
    good.process.kill()
    started = time.monotonic()
    step_until(family, lambda: good in family.revive())
    step_until(family, lambda: good.is_running)

    assert time.monotonic() - started < 2
    family.stop([bad, good], 5)


def test_a_child_that_stays_is_killed_with_its_group(family: Family, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    child = python(
        "stubborn",
        f"""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(note)!r}, "w").write(str(grandchild.pid))
        time.sleep(60)
        """,
    )
    family.start(child)
    step_until(family, lambda: note.exists() and note.read_text())

    family.stop([child], 0.3)

    assert not child.is_running
    wait_for(lambda: not is_alive(int(note.read_text())), "the grandchild is gone")


def test_when_the_supervisor_is_killed_no_child_is_left(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    code = f"""
    import os, sys
    from webapp.supervisor.children import Child, Family
    family = Family(dict(os.environ))
    for name in ("one", "two"):
        child = Child(name, [sys.executable, "-c", "import time; time.sleep(60)"])
        family.start(child)
        with open({str(note)!r}, "a") as file:
            file.write(str(child.process.pid) + chr(10))
    while True:
        family.step(1)
    """
    supervisor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT)
    wait_for(lambda: note.exists() and len(note.read_text().split()) == 2, "both children run")
    pids = [int(word) for word in note.read_text().split()]

    supervisor.kill()
    supervisor.wait(5)

    try:
        wait_for(lambda: not any(map(is_alive, pids)), "no child is left", 5)
    finally:
        for pid in pids:
            kill_quietly(pid)


def test_a_signal_wakes_a_step_and_counts_as_a_wish_to_stop(family: Family) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    family.listen_for_signals()
    try:
        started = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        family.step(10)
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)

    assert family.stop_wishes == 1
    assert time.monotonic() - started < 5
