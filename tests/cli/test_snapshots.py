"""``holdfast snapshot`` over a real host: two snapshots, looked at, compared, proved, put back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from tests.support.app import Installation
from tests.support.estate import Estate, running_estate
from tests.support.redis import RedisServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def estate(
    tmp_path_factory: pytest.TempPathFactory, installation: Installation, redis_server: RedisServer
) -> Iterator[Estate]:
    """A host with snapshots 1 and 2; in between hosts changed, data.bin went and a new name with odd bytes came."""
    with running_estate(tmp_path_factory.mktemp("estate"), installation, redis_server.url) as made:
        made.json("configure-global", "--backup-root", str(made.root))
        made.add_host()
        assert made("backup", "web-01").code == 0
        (made.source / "etc/hosts").write_text("127.0.0.1 localhost web-01\n")
        (made.source / "srv/data.bin").unlink()
        Path(str(made.source) + "/srv/caf\udce9\nnew").write_text("new")
        assert made("backup", "web-01").code == 0
        yield made


def test_a_host_without_a_job_gets_one_that_is_switched_off(estate: Estate) -> None:
    (job,) = estate.json("job", "list")

    assert (job["name"], job["enabled"], job["format"]) == ("By hand", False, "snapshot")


def test_snapshots_are_listed_and_shown(estate: Estate) -> None:
    listed = estate.json("snapshot", "list", "web-01")
    shown = estate.json("snapshot", "show", "2")

    assert (listed["total"], [one["id"] for one in listed["snapshots"]]) == (2, [2, 1])
    assert (shown["base_id"], shown["verification_status"], shown["gone_files"]) == (1, "passed", 1)
    assert "web-01" in estate("snapshot", "list").out
    assert f"{estate.root}/web-01/" in estate("snapshot", "show", "2").out
    assert "1 file or link\n" in estate("snapshot", "show", "2").out
    assert estate("snapshot", "show", "9").code == 3
    assert estate("snapshot", "list", "web-09").code == 3


def test_a_directory_is_browsed_with_what_its_host_had(estate: Estate) -> None:
    found = estate.json("snapshot", "browse", "2", "/etc")
    odd = estate.json("snapshot", "browse", "2", "/srv")

    kinds = {entry["path"]: entry["kind"] for entry in found["entries"]}
    assert kinds == {"/etc/hosts": "file", "/etc/mtab": "symlink", "/etc/nginx": "directory"}
    assert "mtab -> ../proc/self/mounts" in estate("snapshot", "browse", "2", "/etc").out
    assert [entry["path"] for entry in odd["entries"]] == ["/srv/caf\\xe9\\x0anew"]
    assert estate("snapshot", "browse", "2", "/srv").code == 0
    assert estate("snapshot", "browse", "2", "/nowhere").code == 3
    assert estate("snapshot", "browse", "2", "/etc/../..").code in (2, 3)


def test_files_are_found_by_a_part_of_their_path(estate: Estate) -> None:
    assert [one["path"] for one in estate.json("snapshot", "search", "2", "nginx.conf")] == ["/etc/nginx/nginx.conf"]
    assert estate.json("snapshot", "search", "2", "data.bin") == []
    assert "Nothing fits." in estate("snapshot", "search", "2", "data.bin").out


def test_two_snapshots_are_compared(estate: Estate) -> None:
    found = estate.json("snapshot", "diff", "1", "2")

    changes = {(one["change"], one["path"]) for one in found["changes"] if one["kind"] == "file"}
    assert changes == {("added", "/srv/caf\\xe9\\x0anew"), ("removed", "/srv/data.bin"), ("changed", "/etc/hosts")}
    assert found["removed_bytes"] == 50_000
    assert estate.json("snapshot", "diff", "2") == found
    assert "/srv/data.bin" in estate("snapshot", "diff", "2").out
    assert estate("snapshot", "diff", "1").code == 3
    assert estate("snapshot", "diff", "1", "2", "1").code == 2


def test_every_file_is_read_again_and_compared_with_the_host(estate: Estate) -> None:
    read = estate.json("snapshot", "verify", "2", "--wait")
    compared = estate.json("snapshot", "verify", "2", "--with-host", "--wait")

    assert read["checks"]
    assert all(check["state"] == "passed" for check in read["checks"])
    assert compared["checks"]
    assert estate.json("snapshot", "show", "2")["read_at"] is not None


def test_files_are_taken_as_tar_and_zip(estate: Estate, tmp_path: Path) -> None:
    tar, packed = tmp_path / "etc.tar", tmp_path / "etc.zip"

    estate.json("snapshot", "download", "2", "/etc", "--to", str(tar))
    estate.json("snapshot", "download", "2", "/etc/nginx", "--to", str(packed))

    with tarfile.open(tar) as opened:
        names = {member.name: member for member in opened}
        assert names["etc/mtab"].issym()
    with zipfile.ZipFile(packed) as opened_zip:
        assert any(name.endswith("nginx/nginx.conf") for name in opened_zip.namelist())
    assert estate("snapshot", "download", "2", "/etc", "--to", str(tar)).code == 4
    assert estate("snapshot", "download", "2", "/nowhere", "--to", str(tmp_path / "x.tar")).code == 3
    assert not (tmp_path / "x.tar").exists()
    assert estate("snapshot", "download", "2", "/etc", "--to", str(tmp_path / "etc.rar")).code == 2


def test_a_restore_is_shown_first_and_then_done(estate: Estate) -> None:
    target = estate.root.parent / "data" / "restored" / "again"

    dry = estate.json("snapshot", "restore", "1", "--path", "/srv", "--to", "directory", "--target", str(target))
    before = target.exists() and any(target.iterdir())
    done = estate("snapshot", "restore", "--confirm", str(dry["id"]), "--wait", "--json")

    assert (dry["dry_run"], dry["status"], dry["why_not"], before) == (True, "completed", "", False)
    assert any("srv/data.bin" in line for line in dry["changes"])
    assert done.code == 0, done.out + done.err
    assert json.loads(done.out)["preview_id"] == dry["id"]
    assert (target / "srv/data.bin").stat().st_size == 50_000
    assert estate("snapshot", "restore", "--confirm", str(dry["id"])).code == 4
    assert estate("snapshot", "restore").code == 2
    assert estate("snapshot", "restore", "1", "--to", "directory").code == 2


def test_a_key_that_only_reads_cannot_put_back(estate: Estate) -> None:
    said = estate("snapshot", "restore", "1", "--path", "/srv/data.bin", "--json")

    assert said.code == 1
    assert "rrsync" in said.out
    assert not (estate.source / "srv/data.bin").exists()


def test_with_a_key_that_may_write_the_file_is_back_where_it_was(estate: Estate) -> None:
    line = estate.json("host", "show", "web-01")["authorized_keys"]
    kept = estate.let_in(line.replace("rrsync -ro /", "rrsync /"))
    try:
        dry = estate.json("snapshot", "restore", "1", "--path", "/srv/data.bin")
        done = estate("snapshot", "restore", "--confirm", str(dry["id"]), "--wait")
        restored = (estate.source / "srv/data.bin").read_bytes()
    finally:
        estate.let_in(kept)
        (estate.source / "srv/data.bin").unlink(missing_ok=True)

    assert done.code == 0, done.out + done.err
    assert dry["counts"]["created"] == 1
    assert len(restored) == 50_000


def test_only_a_run_that_found_an_emptied_host_can_be_accepted(estate: Estate) -> None:
    assert estate("snapshot", "accept-loss", "1").code == 2
    assert estate("snapshot", "accept-loss", "1", "--yes").code == 4
    assert estate("snapshot", "accept-loss", "99", "--yes").code == 3


def test_the_doctor_sees_a_root_that_is_not_mounted(estate: Estate) -> None:
    marker, away = estate.root / ".holdfast-snapshots", estate.root / "away"

    well = {check["key"]: check["state"] for check in json.loads(estate("doctor", "--json").out)["checks"]}
    marker.rename(away)
    ill = {check["key"]: check for check in json.loads(estate("doctor", "--json").out)["checks"]}
    away.rename(marker)

    assert (well["host_rsync"], well["backup_root"]) == ("ok", "ok")
    assert ill["backup_root"]["state"] == "fail"
    assert str(estate.root) in ill["backup_root"]["detail"]


def test_the_page_about_restoring_by_hand_is_right(estate: Estate, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/restore-by-hand.md").read_text().partition("## 8.")[2]
    prove, restore = re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    digest = xxhash.xxh128_hexdigest((estate.source / "etc/hosts").read_bytes())
    shape = estate.json("snapshot", "show", "2")
    place = Path(shape["root"], shape["directory"], shape["name"])
    line = prove.splitlines()[1].partition(" > ")[0]

    proved = _sh(prove.splitlines()[0], place)
    digests = _sh(line, place)
    _sh(restore.splitlines()[0].replace("/mnt/new", str(tmp_path)), place)
    _sh(f"mkdir {tmp_path}/elsewhere && rsync -aHXX ./ {tmp_path}/elsewhere/", place)

    assert proved == "files.list: OK\n"
    assert f"{digest}  etc/hosts\n" in digests
    assert (tmp_path / "etc/mtab").is_symlink()
    assert (tmp_path / "etc/hosts").read_bytes() == (estate.source / "etc/hosts").read_bytes()
    noted = os.getxattr(tmp_path / "elsewhere/data/etc/mtab", "user.rsync.%stat")
    assert noted == os.getxattr(place / "data/etc/mtab", "user.rsync.%stat")


def _sh(command: str, directory: Path) -> str:
    """What a person would see; bytes that are not UTF-8 replaced."""
    target = re.search(r"(/\S+/etc/)$", command)
    if target is not None:
        Path(target[1]).mkdir(parents=True)
    done = subprocess.run(["sh", "-euc", command], cwd=directory, capture_output=True, timeout=60, check=True)
    return done.stdout.decode(errors="replace")
