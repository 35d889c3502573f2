"""Child processes: started, listened to, started again, stopped.

One thread does all of it: a process can be forked safely from a process without threads, and the kernel's "parent ended"
signal means the thread that forked.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType

from webapp.queue.lifeline import die_with_parent

STEADY_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 30.0
NAME_WIDTH = 10


@dataclass(slots=True)
class Child:
    """One process that is meant to run as long as we do."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float | None = None
    quick_ends: int = 0
    half_line: bytes = b""

    @property
    def is_running(self) -> bool:
        """Whether it has started and not ended."""
        return self.process is not None and self.process.poll() is None

    def note_end(self, now: float) -> float:
        """Count the end and choose when to start again; returns the pause in seconds."""
        self.quick_ends = 0 if now - self.started_at > STEADY_SECONDS else self.quick_ends + 1
        pause = 0.0 if self.quick_ends < 2 else min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0**self.quick_ends)
        self.start_again_at = now + pause
        return pause


@dataclass(slots=True)
class Family:
    """All children of this process, their output, and the wish to stop."""

    environment: Mapping[str, str]
    stop_wishes: int = 0
    children: list[Child] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _bell: socket.socket | None = None

    def listen_for_signals(self) -> None:
        """From now on SIGINT and SIGTERM count as a wish to stop, and wake ``step``."""
        self._bell, far_end = socket.socketpair()
        for end in (self._bell, far_end):
            end.setblocking(False)
        signal.set_wakeup_fd(far_end.detach(), warn_on_full_buffer=False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._wish_to_stop)

    def start(self, child: Child) -> None:
        """Start the child in a session of its own (a Ctrl-C in the terminal reaches only us)."""
        parent = os.getpid()
        child.process = subprocess.Popen(
            child.command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509  # we have no threads
        )
        child.started_at, child.start_again_at, child.half_line = time.monotonic(), None, b""
        if child not in self.children:
            self.children.append(child)
        if child.process.stdout is not None:
            os.set_blocking(child.process.stdout.fileno(), False)
            self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def step(self, seconds: float) -> None:
        """Pass on what children print, for so long or until a signal comes."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Child):
                self._pass_on(key.data)
            elif self._bell is not None:
                with contextlib.suppress(BlockingIOError):
                    self._bell.recv(64)

    def revive(self) -> list[Child]:
        """Start again whatever ended, after a pause that grows. Returns the children that ended since the last call."""
        now, ended = time.monotonic(), []
        for child in self.children:
            if child.is_running or child.process is None:
                continue
            if child.start_again_at is None:
                self._clear_up(child)
                pause = child.note_end(now)
                self.say(child.name, f"ended ({_how(child.process.returncode)}); starting it again in {pause:.0f} s")
                ended.append(child)
            if child.start_again_at is not None and now >= child.start_again_at:
                self.start(child)
        return ended

    def stop(self, children: Iterable[Child], seconds: float) -> None:
        """SIGTERM to each; SIGKILL to those (and their groups) that stay too long, or at a second wish to stop."""
        chosen = [child for child in children if child.process is not None]
        for child in chosen:
            if child.is_running and child.process is not None:
                child.process.terminate()
        deadline, wishes = time.monotonic() + seconds, self.stop_wishes
        while any(child.is_running for child in chosen) and time.monotonic() < deadline and self.stop_wishes <= wishes:
            self.step(0.1)
        for child in chosen:
            if child.is_running:
                self.say(child.name, "did not stop in time; killed")
            self._clear_up(child)

    def say(self, name: str, words: str) -> None:
        """One line to standard error, as a child's."""
        self._write(name, words.encode())

    def _pass_on(self, child: Child) -> None:
        assert child.process is not None and child.process.stdout is not None  # noqa: PT018
        try:
            data = os.read(child.process.stdout.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(child.process.stdout)
            return
        *lines, child.half_line = (child.half_line + data).split(b"\n")
        for line in lines:
            self._write(child.name, line)

    def _clear_up(self, child: Child) -> None:
        """End what is left of the child's group, read its last words, close its pipe."""
        assert child.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        pipe = child.process.stdout
        if pipe is None or pipe.closed:
            return
        while pipe in self._selector.get_map() and any(key.data is child for key, _ in self._selector.select(0)):
            self._pass_on(child)
        if child.half_line:
            self._write(child.name, child.half_line)
            child.half_line = b""
        if pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        pipe.close()

    def _write(self, name: str, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(f"{name:<{NAME_WIDTH}}| ".encode() + line + b"\n")
            sys.stderr.buffer.flush()

    def _wish_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_wishes += 1


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
