"""Hosts from the shell: configured, shown, moved by files; nothing is contacted but a real sshd where its key is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_commands import write
from tests.support.sshd import make_key, running_sshd
from webapp.commands.pobsync import spell_out


@pytest.fixture
def host(shell: Shell) -> Shell:
    """A shell over one host, number 1."""
    shell.json("host", "configure", "web-01", "--address", "192.0.2.10", "--path", "/etc", "--path", "/srv")
    return shell


def test_what_all_hosts_share_is_shown_and_changed(shell: Shell, tmp_path: Path) -> None:
    before = shell.json("configure-global")

    after = shell.json(
        "configure-global", "--backup-root", str(tmp_path), "--exclude", "*.tmp", "--exclude", "/proc/*",
        "--one-file-system", "yes", "--bandwidth", "2048", "--rsync-option=--compress", "--shrink-percent", "30",
    )  # fmt: skip

    assert before["backup_root"] == str(shell.directory / "snapshots")
    assert after == {
        "backup_root": str(tmp_path),
        "exclude": ["*.tmp", "/proc/*"],
        "one_file_system": True,
        "bandwidth_kib": 2048,
        "rsync_options": ["--compress"],
        "shrink_percent": 30,
    }
    assert shell.json("configure-global") == after
    assert "2048" in shell("configure-global").out


def test_a_shared_value_that_cannot_be_used_is_refused_and_changes_nothing(shell: Shell) -> None:
    before = shell.json("configure-global")

    for words in (("--backup-root", "relative"), ("--rsync-option=--rsh=sh",), ("--shrink-percent", "101")):
        assert shell("configure-global", *words).code == 2, words
    assert shell.json("configure-global") == before


def test_a_host_is_added_then_changed_and_stays_the_same_host(host: Shell) -> None:
    first = host.json("host", "show", "web-01")
    moved = host.json(
        "host", "configure", "web-01", "--address", "192.0.2.20", "--rename", "web-one", "--exclude", "*.log"
    )
    second = host.json("host", "show", "web-one")

    assert (first["id"], first["user"], first["port"], first["paths"]) == (1, "root", 22, ["/etc", "/srv"])
    assert (second["id"], second["directory"], second["authorized_keys"]) == (
        1,
        first["directory"],
        first["authorized_keys"],
    )
    assert (moved["address"], second["paths"], second["own_excludes"]) == ("192.0.2.20", ["/etc", "/srv"], ["*.log"])
    assert host("host", "show", "web-01").code == 3
    assert host.json("host", "show", "192.0.2.20")["name"] == "web-one"
    assert [one["name"] for one in host.json("host", "list")] == ["web-one"]
    assert "192.0.2.20" in host("host", "list").out


def test_the_line_for_authorized_keys_allows_reading_only(host: Shell) -> None:
    said = host("host", "configure", "db-01", "--address", "192.0.2.30")

    assert 'restrict,command="rrsync -ro /" ssh-ed25519 ' in said.out
    assert "PRIVATE" not in said.out


def test_a_key_that_is_there_already_is_taken_from_a_file(shell: Shell, tmp_path: Path) -> None:
    private, public = make_key(tmp_path / "key")

    said = shell(
        "host", "configure", "web-01", "--address", "192.0.2.10", "--private-key-file", str(tmp_path / "key"), "--json"
    )

    assert public in said.data["authorized_keys"]
    assert private.splitlines()[1] not in said.out
    assert private.encode() not in (shell.directory / "holdfast.sqlite").read_bytes()


def test_a_hosts_own_values_stand_beside_the_shared_ones(host: Shell) -> None:
    host.json("configure-global", "--bandwidth", "1000", "--shrink-percent", "40")

    own = host.json(
        "host",
        "configure",
        "web-01",
        "--bandwidth",
        "50",
        "--rsync-option=--compress",
        "--exclude",
        "*.log",
        "--only-own-excludes",
        "yes",
    )
    back = host.json("host", "configure", "web-01", "--bandwidth", "default", "--rsync-option", "default")

    assert own["in_force"]["bandwidth_kib"] == {"value": 50, "whose": "own"}
    assert own["in_force"]["rsync_options"] == {"value": ["--compress"], "whose": "own"}
    assert own["in_force"]["shrink_percent"] == {"value": 40, "whose": "default"}
    assert own["in_force"]["excludes"] == {"value": ["*.log"], "whose": "own"}
    assert back["in_force"]["bandwidth_kib"] == {"value": 1000, "whose": "default"}
    assert back["in_force"]["rsync_options"]["whose"] == "default"


def test_what_a_host_cannot_be_is_refused_and_changes_nothing(host: Shell) -> None:
    before = host.json("host", "list")

    for words in (
        ("--address=-oProxyCommand=touch canary",),
        ("--path", "etc"),
        ("--user", "root;id"),
        ("--port", "0"),
        ("--rsync-option=--rsync-path=sh",),
    ):
        assert host("host", "configure", "web-01", *words).code == 2, words
    assert host.json("host", "list") == before


def test_the_hosts_key_is_pinned_only_when_its_fingerprint_is_the_one_that_was_compared(shell: Shell) -> None:
    with running_sshd() as server:
        shell.json("host", "configure", "web-01", "--address", "127.0.0.1", "--port", str(server.port))
        shown = shell.json("host", "key", "web-01")
        wrong = shell("host", "key", "web-01", "--accept", "SHA256:" + "A" * 43, "--json")
        right = shell.json("host", "key", "web-01", "--accept", shown["shown"])

    assert (shown["pinned"], wrong.code) == (None, 4)
    assert shown["shown"] in wrong.error["message"]
    assert right["pinned"] == shown["shown"]
    unreachable = shell.json("host", "key", "web-01")
    assert (unreachable["shown"], unreachable["pinned"]) == (None, shown["shown"])


def test_a_schedule_is_added_and_then_changed(host: Shell) -> None:
    first = host.json("schedule", "web-01", "--cron", "15 2 * * *", "--time-zone", "Europe/Brussels")
    second = host.json("schedule", "web-01", "--cron", "0 4 * * *", "--path", "/etc", "--prune")
    kept = host.json("schedule", "web-01", "--cron", "0 5 * * *")
    own = host.json("schedule", "web-01", "--cron", "0 5 * * *", "--keep-daily", "3")

    assert (first["format"], first["cron"], first["time_zone"]) == ("snapshot", "15 2 * * *", "Europe/Brussels")
    assert (first["retention_mode"], first["retention_value"]) == ("older_than_days", 36500)
    assert (second["id"], second["cron"], second["paths"]) == (first["id"], "0 4 * * *", ["/etc"])
    assert (second["time_zone"], second["retention_mode"]) == ("Europe/Brussels", "rules")
    assert kept["retention_rules"] == second["retention_rules"]
    assert own["retention_rules"] == {"daily": 3}
    assert host("schedule", "web-01", "--cron", "61 * * * *").code == 2
    assert host("schedule", "web-09", "--cron", "0 4 * * *").code == 3


def test_of_several_jobs_one_has_to_be_named(host: Shell) -> None:
    host.json("schedule", "web-01", "--cron", "15 2 * * *", "--prune")
    other = host.json("schedule", "web-01", "--cron", "0 * * * *", "--name", "Hourly etc", "--path", "/etc")

    assert other["id"] == 2
    assert host("schedule", "web-01", "--cron", "0 3 * * *").code == 4
    assert host.json("schedule", "web-01", "--cron", "0 3 * * *", "--job", "2")["cron"] == "0 3 * * *"
    assert host("schedule", "web-01", "--cron", "0 3 * * *", "--job", "7").code == 3


def test_a_table_of_hosts_is_shown_first_and_then_taken_whole(shell: Shell, tmp_path: Path) -> None:
    table = write(
        tmp_path, "hosts.csv", "name,address,user,paths\nweb-01,192.0.2.10,root,/etc\nweb-02,192.0.2.11,root,/etc\n"
    )
    broken = write(
        tmp_path, "broken.csv", "name,address,user,paths\nweb-03,192.0.2.12,root,/etc\nweb-04,not a host,root,/etc\n"
    )

    preview = shell.json("host", "import-csv", table)
    refused = shell("host", "import-csv", broken, "--yes", "--json")
    added = shell.json("host", "import-csv", table, "--yes")

    assert (len(preview["hosts"]), preview["added"]) == (2, [])
    assert refused.code == 2
    assert [bool(row["problems"]) for row in refused.data["hosts"]] == [False, True]
    assert len(added["added"]) == 2
    assert {one["name"] for one in shell.json("host", "list")} == {"web-01", "web-02"}
    assert shell("host", "import-csv", "--template").out.startswith("name,address,")


def test_a_configuration_goes_out_and_comes_in_without_a_secret(host: Shell, tmp_path: Path) -> None:
    host.json("schedule", "web-01", "--cron", "15 2 * * *", "--prune")
    file = host.json("host", "export", "--prefix", str(tmp_path))["file"]
    text = Path(file).read_text()

    again = host.json("host", "import", file)

    assert "web-01" in text
    assert "15 2 * * *" in text
    assert "PRIVATE" not in text
    assert host("host", "export", file).code == 2
    assert host("host", "export").out.startswith(text.splitlines()[0])
    assert [row["exists"] for row in again["hosts"]] == [True]
    assert host("host", "import").code == 2


def test_old_spellings_become_ours() -> None:
    assert spell_out(["retention", "web-01", "--apply"]) == ["retention", "host", "web-01", "--apply"]
    assert spell_out(["retention", "plan", "--job", "1"]) == ["retention", "plan", "--job", "1"]
    assert spell_out(["retention", "--help"]) == ["retention", "--help"]
    assert spell_out(["retention"]) == ["retention"]
    assert spell_out(["job", "list"]) == ["job", "list"]


def test_configure_host_is_the_same_as_host_configure(shell: Shell) -> None:
    shell.json("configure-host", "web-01", "--address", "192.0.2.10")

    assert shell.json("host", "show", "web-01")["paths"] == ["/"]


def test_nothing_is_removed_without_a_yes(host: Shell) -> None:
    host.json("schedule", "web-01", "--cron", "15 2 * * *", "--prune")

    plan = host.json("retention", "web-01")

    assert [one["drop"] for one in plan] == [[]]
    assert host("retention", "web-01", "--apply").code == 2
    assert host("retention", "web-01", "--apply", "--yes", "--max-delete", "0").code == 2
    assert host.json("retention", "web-01", "--apply", "--yes", "--max-delete", "10")[0]["trashed"] == []
    assert host("retention", "web-09").code == 3


def test_a_job_rides_along_with_an_odoo(host: Shell, tmp_path: Path) -> None:
    odoo = {
        "kind": "odoo_http",
        "name": "acme-odoo",
        "url": "https://erp.acme.example",
        "databases": ["acme"],
        "master_password": "green lantern",
    }
    number = host.json("instance", "create", write(tmp_path, "odoo.json", odoo))["id"]

    riding = host.json("schedule", "web-01", "--cron", "15 2 * * *", "--path", "/etc/odoo", "--rides-with", "acme-odoo")
    alone = host.json("schedule", "web-01", "--cron", "15 2 * * *", "--rides-with", "")

    assert (riding["rides_with_id"], alone["rides_with_id"]) == (number, None)
    assert host("schedule", "web-01", "--cron", "15 2 * * *", "--rides-with", "nobody").code == 3
    assert host("schedule", "web-01", "--cron", "15 2 * * *", "--rides-with", "web-01").code == 2
