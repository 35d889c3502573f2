"""Other programs: what they say, how they end, and that nothing of them is ever left."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from webapp.core.errors import TaskStopped
from webapp.core.status import ErrorCode
from webapp.engine.process import Ending, ProcessFailed, background, clean_environment, find_executable, run, stream
from webapp.engine.report import SilentReporter

ENV = clean_environment()


class StoppingReporter(SilentReporter):
    """Stops the task when told, as the worker's reporter does: the actions run on another thread."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self._actions: list[Callable[[], None]] = []

    def check(self) -> None:
        if self.stopped:
            raise TaskStopped("Cancelled.")

    @contextmanager
    def on_stop(self, action: Callable[[], None]) -> Iterator[None]:
        self._actions.append(action)
        try:
            yield
        finally:
            self._actions.remove(action)

    def stop(self) -> None:
        self.stopped = True
        for action in list(self._actions):
            threading.Thread(target=action).start()


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def gone(pid: int) -> bool:
    """Whether no such process runs (a zombie that init has not reaped yet does not)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_run_keeps_output_exit_code_and_the_end_of_stderr() -> None:
    code = "import sys; print('out'); sys.stderr.write('x'*50000 + chr(27) + '[31mthe cause'); sys.exit(3)"

    finished = run(python(code), env=ENV, timeout_seconds=30)

    assert (finished.returncode, finished.stdout) == (3, b"out\n")
    assert finished.stderr_tail.endswith("[31mthe cause")
    assert "\x1b" not in finished.stderr_tail
    assert len(finished.stderr_tail) <= 16 * 1024


def test_run_feeds_input_and_caps_output() -> None:
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"

    finished = run(python(code), env=ENV, input=b"y" * 300_000, timeout_seconds=30, max_output=1000)

    assert finished.stdout == b"y" * 1000
    assert finished.returncode == 0


def test_children_inherit_nothing_but_the_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "poison")
    code = "import os, resource; print(sorted(os.environ), os.umask(0), resource.getrlimit(resource.RLIMIT_CORE)[0])"

    finished = run(python(code), env=clean_environment({"EXTRA": "1"}), timeout_seconds=30)

    assert finished.stdout.decode().strip() == f"{['EXTRA', 'HOME', 'LC_ALL', 'PATH']} {0o077} 0"


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ProcessFailed, match="did not finish in time") as caught:
        run(python("import time; time.sleep(60)"), env=ENV, timeout_seconds=0.2)

    assert (caught.value.ending, caught.value.code) == (Ending.TIMEOUT, ErrorCode.TIMEOUT)


def test_a_missing_program_is_said_so() -> None:
    with pytest.raises(ProcessFailed, match="nosuchprogram could not be started") as caught:
        run(["/nonexistent/nosuchprogram"], env=ENV, timeout_seconds=5)

    assert caught.value.code is ErrorCode.CLIENT_MISSING
    assert caught.value.permanent


def test_a_stream_gives_every_byte() -> None:
    code = "import sys\nfor n in range(3000): sys.stdout.buffer.write(bytes([n % 251]) * 1000)"

    with stream(python(code), env=ENV, reporter=SilentReporter()) as chunks:
        data = b"".join(chunks)

    assert data == b"".join(bytes([n % 251]) * 1000 for n in range(3000))


def test_lines_that_come_one_by_one_are_read_many_at_a_time() -> None:
    code = "import sys, time\nfor n in range(300): print(n, flush=True); time.sleep(0.002)"
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    with stream(python(code), env=ENV, reporter=SilentReporter(), lull_seconds=0.05) as chunks:
        data = b"".join(chunks)

    assert data == b"".join(b"%d\n" % n for n in range(300))
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 200


@pytest.mark.parametrize(
    ("code", "ending", "message"),
    [
        ("print('half'); raise SystemExit(7)", Ending.EXIT, "exit code 7"),
        ("import os; print('half', flush=True); os.kill(os.getpid(), 9)", Ending.SIGNAL, "killed by SIGKILL"),
    ],
)
def test_a_bad_end_is_raised_after_the_last_byte(code: str, ending: Ending, message: str) -> None:
    got: list[bytes] = []

    with (
        pytest.raises(ProcessFailed, match=message) as caught,
        stream(python(code), env=ENV, reporter=SilentReporter()) as chunks,
    ):
        got.extend(chunks)

    assert b"".join(got) == b"half\n"
    assert caught.value.ending is ending


def test_a_stream_that_stalls_is_ended() -> None:
    code = "import sys, time; print('a', flush=True); time.sleep(60)"

    with (
        pytest.raises(ProcessFailed) as caught,
        stream(python(code), env=ENV, reporter=SilentReporter(), idle_seconds=0.3) as chunks,
    ):
        list(chunks)

    assert caught.value.code is ErrorCode.STALLED


def test_a_stream_left_before_its_end_is_an_error_because_its_exit_code_is_unknown() -> None:
    with (
        pytest.raises(ProcessFailed) as caught,
        stream(python("print('a' * 10_000_000)"), env=ENV, reporter=SilentReporter()) as chunks,
    ):
        next(chunks)

    assert caught.value.ending is Ending.ABANDONED


def test_stdin_is_fed_while_stdout_is_read() -> None:
    code = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line)"
    lines = (b"%d\n" % n for n in range(200_000))

    with stream(python(code), env=ENV, reporter=SilentReporter(), stdin=lines) as chunks:
        data = b"".join(chunks)

    assert data.count(b"\n") == 200_000


def test_an_error_of_the_feeder_is_raised_to_the_reader() -> None:
    def broken() -> Iterator[bytes]:
        yield b"one\n"
        raise LookupError("the cursor broke")

    with (
        pytest.raises(LookupError, match="the cursor broke"),
        stream(python("import sys; sys.stdin.read()"), env=ENV, reporter=SilentReporter(), stdin=broken()) as chunks,
    ):
        list(chunks)


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_stop_ends_the_whole_group(stubborn: bool) -> None:
    reporter = StoppingReporter()
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    inner = f"import os, signal, time; {ignore} print(os.getpid(), 'up'.rjust(300_000), flush=True); time.sleep(60)"
    code = (
        f"import os, subprocess, sys; print(os.getpid(), flush=True); subprocess.run([sys.executable, '-c', {inner!r}])"
    )
    pids = []

    with pytest.raises(TaskStopped), stream(python(code), env=ENV, reporter=reporter) as chunks:
        for chunk in chunks:
            pids += [int(word) for word in chunk.split() if word.isdigit()]
            if b"up" in chunk:
                reporter.stop()

    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from webapp.engine.process import stream, clean_environment\n"
        "from webapp.engine.report import SilentReporter\n"
        "import os, signal\n"
        "argv = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)']\n"
        "with stream(argv, env=clean_environment(), reporter=SilentReporter()) as chunks:\n"
        "    print(next(chunks).decode(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # The child closes nothing and prints once, so ``next`` returns only at the end of the pipe: write enough at once.
    code = code.replace("print(os.getpid(), flush=True)", "print(str(os.getpid()).ljust(200_000), flush=True)")

    finished = run([sys.executable, "-c", code], env=ENV, timeout_seconds=30)

    assert finished.returncode == -signal.SIGKILL
    assert gone(int(finished.stdout.split()[0]))


def test_a_background_program_is_gone_afterwards() -> None:
    with background(python("import time; time.sleep(60)"), env=ENV, reporter=SilentReporter()) as program:
        pid = program._child.process.pid
        assert program.returncode() is None

    assert gone(pid)


def test_find_executable_looks_on_path_and_beside_it(tmp_path: Path) -> None:
    tool = tmp_path / "mytool"
    tool.write_text("#!/bin/sh\n")
    os.chmod(tool, 0o755)

    assert find_executable("mytool") is None
    assert find_executable("mytool", [str(tmp_path)]) == str(tool)
