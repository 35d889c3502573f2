"""A path that is allowed on a host may be too long below a backup root: that is said, and nothing is left out unseen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host_snapshots import plan_of, taken
from tests.support.sshd import SshServer
from webapp.core.errors import StoreError
from webapp.engine.disk import TOO_LONG_HINT
from webapp.engine.snapshots.output import Complaints

PATH_MAX = 4096  # limits.h of Linux, the closing NUL included


def make_file(above: Path, length: int) -> None:
    """A file below a directory, so deep that its path has ``length`` bytes."""
    path = os.fsencode(above)
    descriptor = os.open(above, os.O_RDONLY)
    while length - len(path) > 250:
        name = b"d" * min(200, length - len(path) - 20)
        os.mkdir(name, dir_fd=descriptor)
        deeper = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor, path = deeper, path + b"/" + name
    name = b"f" * (length - len(path) - 1)
    file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=descriptor)
    os.close(file)
    os.close(descriptor)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "source").mkdir()
    yield tmp_path / "source"
    shutil.rmtree(tmp_path, ignore_errors=True)  # It walks by descriptors; what comes later does not.


@pytest.mark.parametrize("is_first", [True, False])
def test_a_path_that_does_not_fit_below_the_root_is_named_with_what_to_do(
    ssh_server: SshServer, top: Path, tmp_path: Path, *, is_first: bool
) -> None:
    (top / "plain").write_text("plain")
    base = None if is_first else taken(plan_of(ssh_server, tmp_path / "root", top)).place
    make_file(top, PATH_MAX - 1)

    with pytest.raises(StoreError, match="File name too long") as caught:
        taken(plan_of(ssh_server, tmp_path / "root", top, run_id=2, base=base))

    assert os.path.basename(top.parent) in caught.value.message
    assert caught.value.hint == TOO_LONG_HINT


def test_the_reason_behind_a_long_path_is_kept() -> None:
    complaints = Complaints()

    complaints.take(b'rsync: [receiver] write failed on "/' + 4000 * b"x" + b'": No space left on device (28)')

    assert complaints.local[0].endswith("No space left on device (28)")
    assert len(complaints.local[0]) <= 1000
