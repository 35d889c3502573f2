"""The only place that starts other programs: argv lists, a clean environment, limits, and no exit code ever lost."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from webapp.engine.endings import Ending, ProcessFailed
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.tail import LineObserver, Tail

__all__ = [
    "Background",
    "Ending",
    "Finished",
    "ProcessFailed",
    "background",
    "clean_environment",
    "find_executable",
    "run",
    "stream",
]

CHUNK_BYTES = 256 * 1024
PIPE_BYTES = 1024 * 1024
SMALL_BYTES = 64 * 1024
GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.5
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ; Linux only, see fcntl(2)
_PR_SET_PDEATHSIG = 1  # prctl(2), Linux
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program that ran to its end left. ``returncode`` is negative for a signal."""

    returncode: int
    stdout: bytes
    stderr_tail: str


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment every child gets: PATH, a neutral locale, no home; plus ``extra``. Nothing else is inherited."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
    }
    env.update(extra or {})
    return env


def find_executable(name: str, extra_directories: Sequence[str] = ()) -> str | None:
    """Absolute path of a program on PATH or in one of the extra directories, or None."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *extra_directories])
    return shutil.which(name, path=path)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_seconds: float,
    input: bytes | None = None,
    reporter: Reporter | None = None,
    max_output: int = 4 * 1024 * 1024,
) -> Finished:
    """Run a short program to its end and keep its output (at most ``max_output`` bytes; the rest is dropped).

    Any exit code is an answer, not an error. Raises ProcessFailed when it cannot start, or runs longer than the limit.
    """
    limits = _Limits(idle_seconds=timeout_seconds, total_seconds=timeout_seconds)
    kept = bytearray()
    with _started(argv, env, None if input is None else [input], reporter or SilentReporter(), limits) as child:
        for chunk in child.chunks():
            kept += chunk[: max_output - len(kept)]
        returncode = child.finish()
        return Finished(returncode, bytes(kept), child.stderr_tail())


@contextmanager
def stream(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    reporter: Reporter,
    stdin: Iterable[bytes] | None = None,
    idle_seconds: float | None = 900,
    on_error_line: LineObserver | None = None,
    activity: Callable[[int], int] | None = None,
    lull_seconds: float = 0.0,
) -> Iterator[Iterator[bytes]]:
    """Yield an iterator over the program's stdout in chunks of about 256 KiB.

    The iterator raises ProcessFailed at its end when the exit code is not 0, when a signal ended the program, or when
    it sent nothing for ``idle_seconds``. ``stdin`` is fed from a thread of its own; what it raises is raised here.
    Leaving the block early kills the program; leaving it without an error before the end was read is an error too, so
    that no exit code is ever lost. ``on_error_line`` gets each line of stderr, from a thread of its own; all of them came
    before the iterator ends. ``activity`` tells of a process how much it did: while that changes, silence is not idleness.
    ``lull_seconds`` is slept after each small piece of stdout: a program that writes line by line then wakes us for many lines
    at once, not for each.
    """
    limits = _Limits(idle_seconds, on_error_line=on_error_line, activity=activity, lull_seconds=lull_seconds)
    with _started(argv, env, stdin, reporter, limits) as child:
        yield child.checked_chunks()
        if not child.ended:
            raise ProcessFailed(child.program, Ending.ABANDONED)


@contextmanager
def background(argv: Sequence[str], *, env: Mapping[str, str], reporter: Reporter) -> Iterator[Background]:
    """Keep a program running while inside (a tunnel); it is ended on the way out, whatever happened."""
    with _started(argv, env, None, reporter, _Limits()) as child:
        yield Background(child)


class Background:
    """A program that runs beside us."""

    def __init__(self, child: _Child) -> None:
        self._child = child

    def returncode(self) -> int | None:
        """None while it runs."""
        return self._child.exit_code()

    def stderr_tail(self) -> str:
        """What it said so far."""
        return self._child.stderr_tail(wait=False)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the whole group a signal; called from any thread, at any time."""
        self._child.signal_group(number)


@dataclass(frozen=True, slots=True)
class _Limits:
    idle_seconds: float | None = None
    total_seconds: float | None = None
    on_error_line: LineObserver | None = None
    activity: Callable[[int], int] | None = None
    lull_seconds: float = 0.0


@contextmanager
def _started(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdin: Iterable[bytes] | None,
    reporter: Reporter,
    limits: _Limits,
) -> Iterator[_Child]:
    reporter.check()
    child = _Child(argv, env, stdin, reporter=reporter, limits=limits)
    try:
        with reporter.on_stop(child.terminate):
            yield child
    finally:
        child.close()


class _Child:
    """One started program with its pipes and its threads. Use through ``_started`` only."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: Iterable[bytes] | None,
        *,
        reporter: Reporter,
        limits: _Limits,
    ) -> None:
        self.program = Path(argv[0]).name
        self.ended = False
        self._reporter = reporter
        self._limits = limits
        self._began = self._active_at = time.monotonic()
        self._done: int | None = None
        self._feed_error: BaseException | None = None
        self._tail = Tail(limits.on_error_line)
        self._reaping = threading.Lock()
        self.process = _popen(argv, env, with_stdin=stdin is not None)
        assert self.process.stdout is not None  # PIPE was asked for
        assert self.process.stderr is not None
        self._stdout = self.process.stdout.fileno()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._stdout, _F_SETPIPE_SZ, PIPE_BYTES)
        self._threads = [threading.Thread(target=self._tail.drain, args=(self.process.stderr.fileno(),), daemon=True)]
        if stdin is not None:
            self._threads.append(threading.Thread(target=self._feed, args=(stdin,), daemon=True))
        for thread in self._threads:
            thread.start()

    def chunks(self) -> Iterator[bytes]:
        """Stdout until its end; raises ProcessFailed at a limit and TaskStopped when the task must end."""
        gathered: list[bytes] = []
        size = 0
        while True:
            data = self._read(CHUNK_BYTES - size, patient=not gathered)
            if data:
                gathered.append(data)
                size += len(data)
            if gathered and (not data or size >= CHUNK_BYTES // 2):
                yield b"".join(gathered)
                gathered, size = [], 0
            if data == b"":
                return
            if data and self._limits.lull_seconds and len(data) < SMALL_BYTES:
                time.sleep(self._limits.lull_seconds)

    def checked_chunks(self) -> Iterator[bytes]:
        """``chunks``, then ProcessFailed unless the program ended with exit code 0."""
        yield from self.chunks()
        returncode = self.finish()
        if returncode != 0:
            ending = Ending.SIGNAL if returncode < 0 else Ending.EXIT
            raise ProcessFailed(
                self.program,
                ending,
                returncode=returncode,
                stderr_tail=self.stderr_tail(),
            )

    def finish(self) -> int:
        """Wait for the exit code after stdout ended; whoever closed stdout but stays is subject to the same limits."""
        waited_from = time.monotonic()
        while not self._exited_within(_POLL_SECONDS):
            self._obey_limits(waited_from)
        returncode = self._reap()
        self.ended = True
        for thread in self._threads:
            thread.join(GRACE_SECONDS)
        self._reporter.check()
        if self._feed_error is not None:
            raise self._feed_error
        return returncode

    def stderr_tail(self, *, wait: bool = True) -> str:
        """The end of stderr."""
        if wait:
            self._threads[0].join(GRACE_SECONDS)
        return self._tail.text()

    def exit_code(self) -> int | None:
        """None while it runs; it is not reaped by asking."""
        found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def terminate(self) -> None:
        """Ask the whole group to end; called from any thread, at any time."""
        self.signal_group(signal.SIGTERM)

    def close(self) -> None:
        """Make sure that nothing of the child is left: no process, no thread, no descriptor."""
        if self.process.returncode is None:
            self.terminate()
            self._exited_within(GRACE_SECONDS)
            self._reap()
        for thread in self._threads:
            thread.join(GRACE_SECONDS)
        if any(thread.is_alive() for thread in self._threads):
            return  # A descriptor that a thread still reads must not be closed: its number could be given to another file.
        for pipe in (self.process.stdout, self.process.stderr, self.process.stdin):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def signal_group(self, number: signal.Signals) -> None:
        """Nothing happens once it has ended."""
        # The child leads its own group, whose id is its pid: certainly ours for as long as it is not reaped.
        with self._reaping:
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, number)

    def _exited_within(self, seconds: float) -> bool:
        """Whether the leader has ended (it stays a zombie, so that its group's id stays ours)."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return True

    def _reap(self) -> int:
        """End what is left of the group, then take the leader's exit code."""
        self.signal_group(signal.SIGKILL)
        with self._reaping:
            return self.process.wait()

    def _read(self, limit: int, *, patient: bool) -> bytes | None:
        """What stdout has; b"" at its end; None when nothing came for a moment and we are not patient."""
        waited_from = time.monotonic()
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN | select.POLLHUP)
        while not poller.poll(_POLL_SECONDS * 1000):
            self._obey_limits(waited_from)
            if not patient:
                return None
        self._reporter.check()
        return os.read(self._stdout, limit)

    def _obey_limits(self, waited_from: float) -> None:
        self._reporter.check()
        if self._feed_error is not None:
            raise self._feed_error
        now = time.monotonic()
        if self._limits.total_seconds is not None and now - self._began > self._limits.total_seconds:
            raise ProcessFailed(self.program, Ending.TIMEOUT, stderr_tail=self.stderr_tail(wait=False))
        idle = self._limits.idle_seconds
        if idle is not None and now - waited_from > idle and not self._has_been_active(now, idle):
            raise ProcessFailed(self.program, Ending.STALLED, stderr_tail=self.stderr_tail(wait=False))

    def _has_been_active(self, now: float, idle_seconds: float) -> bool:
        """Whether it did anything within the limit, beside writing to us."""
        if self._limits.activity is None:
            return False
        done = self._limits.activity(self.process.pid)
        if done != self._done:
            self._done, self._active_at = done, now
        return now - self._active_at <= idle_seconds

    def _feed(self, stdin: Iterable[bytes]) -> None:
        pipe = self.process.stdin
        assert pipe is not None  # PIPE was asked for
        try:
            for data in stdin:
                rest = memoryview(data)
                while rest:
                    rest = rest[pipe.write(rest) or 0 :]
            pipe.close()
        except BrokenPipeError:
            pass  # It ended before it read everything; its exit code tells why.
        except BaseException as error:  # noqa: BLE001 - carried to the thread that reads, and raised there unchanged
            self._feed_error = error
            self.terminate()


def _popen(argv: Sequence[str], env: Mapping[str, str], *, with_stdin: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd="/",
            close_fds=True,
            start_new_session=True,
            umask=0o077,
            preexec_fn=_DieWithParent(os.getpid()),  # noqa: PLW1509 - see there
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        raise ProcessFailed(Path(argv[0]).name, Ending.NOT_STARTED, stderr_tail=str(error)) from error


class _DieWithParent:
    """Runs in the child between fork and exec: two system calls, no allocation to speak of, no lock of ours.

    PR_SET_PDEATHSIG kills the child when the *thread* that started it ends (prctl(2)). That is what we want: a child
    never outlives the call that started it, and so not a killed worker either.
    """

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core file would hold secrets.
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != self.parent:  # The parent died before the call above.
                os._exit(1)
