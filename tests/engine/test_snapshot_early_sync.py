"""What comes is written to the disk while more comes; a disk that errs then is no smaller fault than one that errs at the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from webapp.engine.snapshots.early_sync import syncing
from webapp.engine.snapshots.places import PLAN_FILE

_WORK = """
import os, sys, time
from webapp.core.errors import StoreError
from webapp.engine.snapshots.early_sync import syncing
from webapp.engine.snapshots.places import PLAN_FILE
plan = os.path.join(sys.argv[1], PLAN_FILE)
deadline = time.monotonic() + 20
try:
    with syncing(sys.argv[1], pause_seconds=0.01):
        while os.path.exists(plan) and time.monotonic() < deadline:
            time.sleep(0.01)
        print("still working", flush=True)
except StoreError as error:
    sys.exit(f"{error.code.value}: {error.message}")
"""


def under_strace(partial: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("strace") is None:
        pytest.skip("strace is needed to let the disk err")
    argv = ["strace", "-f", "-qq", "-e", "trace=syncfs", *words, sys.executable, "-c", _WORK, str(partial)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "ptrace" in ended.stderr or "Operation not permitted" in ended.stderr:
        pytest.skip("programs cannot be traced here")
    return ended


def test_a_disk_that_errs_meanwhile_is_told_at_the_end_and_what_came_is_not_taken_up_again(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_bytes(b"{}")

    ended = under_strace(tmp_path, "-e", "inject=syncfs:error=EIO:when=3")

    assert ended.stdout == "still working\n"
    assert "store_error: Could not write all of the snapshot to the disk" in ended.stderr
    assert ended.stderr.count("syncfs(") == 3
    assert not (tmp_path / PLAN_FILE).exists()


def test_another_error_is_raised_as_it_is_and_at_once(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_bytes(b"{}")
    began = time.monotonic()

    with pytest.raises(ValueError, match="another"), syncing(str(tmp_path), pause_seconds=60):
        raise ValueError("another")

    assert time.monotonic() - began < 30
    assert (tmp_path / PLAN_FILE).exists()
