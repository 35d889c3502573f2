"""Hosts from files and into files: looked at first, then all or nothing, and never a secret in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from flask import Flask

from tests.support.app import ALICE
from tests.support.drafts import HOST, NIGHTLY_SNAPSHOT, ODOO_HTTP, POSTGRES, changed, changed_job
from tests.support.sshd import make_key
from webapp.core.errors import InvalidInput
from webapp.core.status import DrillPolicy, RetentionMode
from webapp.services import host_files, hosts, instance_keys, instances, jobs
from webapp.services.host_files import HostImport
from webapp.services.settings import change_settings, get_settings
from webapp.store.db import db, writing
from webapp.store.models import Host, Instance, Job, Setting, Slot

pytestmark = pytest.mark.usefixtures("service")

CSV = """name,address,user,paths,excludes,tags,cron,keep_daily,keep_last
web-01,192.0.2.10,root,/etc|/srv/www,*.tmp,web prod,15 2 * * *,14,
web-02,web-02.example.net,backup,,,,,,
"""


def problems(found: HostImport) -> list[str]:
    return [problem.message for problem in found.all_problems]


def row_count(*models: type[Host | Instance | Job]) -> list[int]:
    return [db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0 for model in models]


def test_a_csv_is_looked_at_and_then_added_with_its_jobs(now: datetime) -> None:
    found = host_files.read_csv(CSV, now)

    assert (found.is_good, problems(found)) == (True, [])
    assert row_count(Instance, Host, Job) == [0, 0, 0]

    added = host_files.apply_import(found, actor=ALICE, now=now)

    assert [instance.name for instance in added] == ["web-01", "web-02"]
    first, second = (hosts.get_host(instance.id) for instance in added)
    assert (first.paths, first.excludes, first.instance.tags) == (["/etc", "/srv/www"], ["*.tmp"], ["web", "prod"])
    assert (second.paths, second.instance.ssh_user) == (["/"], "backup")
    assert len({first.instance.ssh_public_key, second.instance.ssh_public_key}) == 2
    (job,) = jobs.list_jobs()
    assert (job.instance_id, job.cron, job.retention_rules) == (first.instance_id, "15 2 * * *", {"daily": 14})
    assert job.next_slot_at is not None


def test_the_template_is_a_csv_that_passes(now: datetime) -> None:
    found = host_files.read_csv(host_files.csv_template(), now)

    assert problems(found) == []
    assert found.rows[0].draft.paths == "/etc\n/srv/www"


def test_the_docs_name_every_column() -> None:
    document = (Path(__file__).parents[2] / "docs/hosts.md").read_text()

    assert [name for name in host_files.CSV_COLUMNS if f"`{name}`" not in document] == []


@pytest.mark.parametrize("before", ["\ufeff", ""])
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_what_spreadsheets_write_is_read(now: datetime, before: str, separator: str) -> None:
    text = before + "Name,Address,User\r\nweb-01,192.0.2.10,root\r\n\r\n".replace(",", separator)

    assert [row.name for row in host_files.read_csv(text, now).rows] == ["web-01"]


def test_one_wrong_line_keeps_all_of_them_out_and_every_slip_is_named(now: datetime) -> None:
    instances.create_instance(POSTGRES, actor=ALICE, now=now)
    instances.create_instance(changed(HOST, name="here"), actor=ALICE, now=now)
    text = (
        "name,address,user,port,paths,cron,host_key\n"
        "good,192.0.2.1,root,,,,\n"
        "GOOD,192.0.2.2,root,,,,\n"
        "initech-db,192.0.2.3,root,,,,\n"
        "here,192.0.2.4,root,,,,\n"
        "bad,-oProxyCommand=x,root,70000,etc,61 * * * *,nonsense\n"
        ",192.0.2.5,root,,,,,too many\n"
    )

    found = host_files.read_csv(text, now)

    assert not found.is_good
    assert [(row.where, len(row.problems)) for row in found.rows] == [
        ("line 2", 0), ("line 3", 1), ("line 4", 1), ("line 5", 1), ("line 6", 5), ("line 7", 2),
    ]  # fmt: skip
    assert {problem.field for problem in found.rows[4].problems} == {
        "ssh_host",
        "ssh_port",
        "paths",
        "cron",
        "host_key",
    }
    with pytest.raises(InvalidInput, match=r"line 3, GOOD: .* twice"):
        host_files.apply_import(found, actor=ALICE, now=now)
    assert row_count(Instance, Host) == [2, 1]


def test_a_name_taken_since_the_preview_undoes_everything(now: datetime) -> None:
    found = host_files.read_csv(CSV, now)
    instances.create_instance(changed(HOST, name="web-02"), actor=ALICE, now=now)

    with pytest.raises(InvalidInput, match="line 3, web-02: Another instance"):
        host_files.apply_import(found, actor=ALICE, now=now)

    assert row_count(Instance, Host, Job) == [1, 1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "", "name;address\nx;y\n", "name,address,user,colour\n", "name,address,user,name\n",
        'name,address,user\n"x,y,z\n', "a" * 3_000_000,
    ],
)  # fmt: skip
def test_what_is_no_list_of_hosts_is_refused_with_a_sentence(now: datetime, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        host_files.read_csv(text, now)

    assert refused.value.field == "file"


def test_what_a_line_keeps_without_a_schedule_is_said_to_be_left_out(now: datetime) -> None:
    text = "name,address,user,cron,keep_daily,time_zone\na,192.0.2.1,root,,14,UTC\nb,192.0.2.2,root,15 2 * * *,14,\n"

    without, with_job = host_files.read_csv(text, now).rows

    assert without.notes == ("Left out: time_zone, keep_daily. Without cron the host gets no job.",)
    assert (len(without.jobs), len(with_job.jobs), with_job.notes) == (0, 1, ())


def test_an_empty_list_is_not_good(now: datetime) -> None:
    found = host_files.read_csv("name,address,user\n", now)

    assert (found.is_good, problems(found)) == (False, ["The file names no host."])


def fill(now: datetime, directory: Path) -> str:
    """An installation with two hosts, one of them rich; its private key."""
    odoo_id = instances.create_instance(ODOO_HTTP, actor=ALICE, now=now).id
    change_settings(replace(get_settings(), backup_root="/backups", host_excludes=("*.iso",)), actor=ALICE, now=now)
    rich = changed(
        HOST, one_file_system="yes", shrink_percent="80", own_rsync_options=True, rsync_options="-z", notes="Two\nlines",
        sentinel_files="/etc/passwd", customer="Acme", tags="web",
    )  # fmt: skip
    host = instances.create_instance(rich, actor=ALICE, now=now)
    instance_keys.pin_host_key(host.id, make_key(directory / "key")[1], actor=ALICE, now=now)
    private = hosts.host_plan(host).ssh.private_key.reveal()
    job = changed_job(NIGHTLY_SNAPSHOT, rides_with=str(odoo_id), paths="/etc/odoo", enabled=False, keep_daily="3")
    jobs.create_job(host.id, job, actor=ALICE, now=now)
    simple = changed_job(
        NIGHTLY_SNAPSHOT, name="Hourly", retention_mode="keep_last_n", retention_value="9", drill_policy="never"
    )
    jobs.create_job(hosts.list_hosts()[0].instance_id, simple, actor=ALICE, now=now)
    instances.create_instance(changed(HOST, name="plain", excludes=""), actor=ALICE, now=now)
    return private


def test_an_export_read_elsewhere_gives_the_same_hosts(now: datetime, tmp_path: Path) -> None:
    private = fill(now, tmp_path)
    text = host_files.export_yaml()
    assert private.splitlines()[1] not in text
    assert "PRIVATE" not in text

    with writing() as session:
        for model in (Slot, Job, Host, Instance, Setting):
            session.execute(sa.delete(model))
    instances.create_instance(ODOO_HTTP, actor=ALICE, now=now)
    found = host_files.read_yaml(text, now)
    assert problems(found) == []
    assert {change.name for change in found.setting_changes} == {"backup_root", "host_excludes"}
    host_files.apply_import(found, actor=ALICE, now=now)

    assert host_files.export_yaml() == text
    hourly, nightly = jobs.list_jobs()
    assert (nightly.enabled, nightly.rides_with_id is not None, nightly.retention_rules["daily"]) == (False, True, 3)
    assert (hourly.retention_mode, hourly.retention_value) == (RetentionMode.KEEP_LAST_N, 9)
    assert hourly.drill_policy is DrillPolicy.NEVER


def test_hosts_that_are_here_are_left_as_they_are(now: datetime, tmp_path: Path) -> None:
    fill(now, tmp_path)

    found = host_files.read_yaml(host_files.export_yaml(), now)

    assert [row.exists for row in found.rows] == [True, True]
    assert (problems(found), found.settings, found.to_add, found.is_good) == ([], None, (), False)
    assert host_files.apply_import(found, actor=ALICE, now=now) == []
    assert row_count(Host, Job) == [2, 2]


def test_settings_of_a_file_can_be_left_out(now: datetime, tmp_path: Path) -> None:
    text = "format: holdfast-hosts\nversion: 1\nsettings: {bandwidth_kib: 7}\nhosts: [{name: a, address: a, user: u, paths: [/]}]"

    host_files.apply_import(replace(host_files.read_yaml(text, now), settings=None), actor=ALICE, now=now)

    assert get_settings().host_bandwidth_kib == 0
    assert row_count(Host) == [1]


JOB = "hosts: [{name: a, address: a, user: u, paths: [/], jobs: [{name: j, cron: '1 1 * * *', %s}]}]"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("hosts: [{name: a, address: a, user: u, paths: [/], adress: b}]", "«adress» is no word"),
        ("hosts: [{name: a, address: a, user: u, paths: [/], own_excludes_only: perhaps}]", "true or false"),
        ("hosts: [{name: a, address: a, user: u, paths: [/], jobs: [{name: j, cron: x}]}]", "hosts[0], a: "),
        ("hosts: [{name: a, address: a, user: u, paths: [/], jobs: [{cron: '1 1 * * *', rides_with: b}]}]", "no Odoo"),
        (JOB % "retention: {mode: rules, keep: {daly: 14, weekly: 8}}", "jobs[0].retention.keep: «daly» is no word"),
        (JOB % "retention: {mode: rules, kep: {daily: 14}}", "jobs[0].retention: «kep» is no word"),
        (JOB % "retention: [daily, 14]", "retention must be named values"),
        (JOB % "read_again: {polcy: each}", "jobs[0].read_again: «polcy» is no word"),
        ("hosts: [{address: a, user: u}]", "The name is missing"),
        ("hosts: [1, null]", "The name is missing"),
        ("settings: {bandwidth_kib: fast}", "a whole number"),
        ("settings: {rsync_options: [--rsh=sh]}", "settings: The rsync option"),
        ("settings: {colour: red}", "«colour» is no word"),
    ],
)
def test_slips_in_a_yaml_are_named(now: datetime, body: str, words: str) -> None:
    found = host_files.read_yaml(f"format: holdfast-hosts\nversion: 1\n{body}\n", now)

    assert not found.is_good
    assert words in " ".join(problems(found))


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "format: other", "a: [", "\x00", "[" * 100_000, "!!python/object/apply:os.system [id]",
        "a: &a [x, x]\nb: [*a, *a]", "format: holdfast-hosts\nversion: 2",
    ],
)  # fmt: skip
def test_a_text_that_is_no_configuration_is_refused_with_a_sentence(now: datetime, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        host_files.read_yaml(text, now)

    assert refused.value.field == "file"


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))


def test_a_pobsync_installation_is_taken_over(service: Flask, now: datetime, tmp_path: Path) -> None:
    write(
        tmp_path / "config/global.yaml",
        {
            "backup_root": "/mnt/backups/pobsync",
            "ssh": {"user": "backup", "options": ["-oBatchMode=yes"]},
            "excludes_default": ["/proc/*", "/sys/*"],
            "rsync": {"args": ["--archive", "--numeric-ids", "--compress", "--rsh=ssh -v"], "bwlimit": 500},
            "retention_defaults": {"daily": 14, "weekly": 8},
        },
    )
    write(
        tmp_path / "config/hosts/web.example.com.yaml",
        {"host": "web.example.com", "address": "192.0.2.1", "excludes_add": ["*.log"], "schedule": {"cron": "15 2 * * *"},
         "retention": {"daily": 7}, "colour": "red", "ssh": {"port": 2222}},
    )  # fmt: skip
    write(tmp_path / "config/hosts/db.yaml", {"excludes_replace": ["/var/cache/*"], "source_root": "/srv"})

    found = host_files.read_prefix(tmp_path, now)
    assert problems(found) == []
    host_files.apply_import(found, actor=ALICE, now=now)

    second, first = hosts.list_hosts()
    assert (first.directory, first.backup_root, first.paths) == ("web.example.com", "/mnt/backups/pobsync", ["/"])
    assert (first.instance.ssh_host, first.instance.ssh_port, first.instance.ssh_user) == ("192.0.2.1", 2222, "backup")
    assert (first.excludes, first.own_excludes_only) == (["/proc/*", "/sys/*", "*.log"], True)
    assert (first.rsync_options, first.bandwidth_kib) == (["--compress"], 500)
    assert (second.instance.ssh_host, second.excludes, second.paths) == ("db", ["/var/cache/*"], ["/srv"])
    (job,) = jobs.list_jobs()
    assert (job.instance_id, job.cron, job.retention_rules) == (first.instance_id, "15 2 * * *", {"daily": 7})
    notes = " ".join(found.rows[1].notes)
    assert "colour" in notes
    assert "--rsh=ssh" in notes


def test_a_directory_without_pobsyncs_files_is_refused(now: datetime, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no hosts' files"):
        host_files.read_prefix(tmp_path, now)


def test_a_damaged_pobsync_file_is_named(now: datetime, tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/web.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidInput, match=r"hosts/web\.yaml"):
        host_files.read_prefix(tmp_path, now)
