"""What pobsync promises, row by row as docs/reference/pobsync.md numbers it, and what Holdfast does."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from tests.parity.conftest import Story, World
from tests.support.estate import Estate
from webapp.cli import make_parser
from webapp.commands.processes import scheduler_settings
from webapp.core import snapshot_manifest, snapshot_plans
from webapp.core.errors import StoreError
from webapp.engine.snapshots import take
from webapp.engine.snapshots.places import host_lock
from webapp.settings import read_settings
from webapp.store.db import db
from webapp.store.models import Run, SnapshotRecord, Task

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/pobsync.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()


def answer(row: str) -> str:
    """What the page says that we do."""
    found = re.search(rf"^\| {row} \| [^|]+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert found is not None, row
    return found[1]


def of_ours(story: Story) -> list[Any]:
    """The snapshots that Holdfast made, the newest first."""
    return [one for one in story["snapshots"] if one["layout"] == "ours"]


def options_of(*words: str) -> set[str]:
    """What a command may be told, by its long options."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        make_parser().parse_args([*words, "--help"])
    return set(re.findall(r"--[a-z-]+", said.getvalue()))


def yaml_readers() -> set[str]:
    """The modules that read or write YAML."""
    users = re.compile(r"^(import yaml|from webapp.services.yaml_text)", re.MULTILINE)
    return {path.name for path in (ROOT / "webapp").rglob("*.py") if users.search(path.read_text())} - {"yaml_text.py"}


def tree_of(shape: Any) -> Path:
    return Path(shape["root"], shape["directory"], shape["name"], "data")


def test_every_row_is_answered_and_has_its_test() -> None:
    rows = [int(number) for number in re.findall(r"^\| P-(\d+) \|", PAGE, re.MULTILINE)]
    tests = {int(number) for number in re.findall(r"^def test_p(\d+)_", Path(__file__).read_text(), re.MULTILINE)}

    assert rows == list(range(1, 43))
    assert tests == set(rows)


def test_every_command_of_ours_on_the_page_is_understood() -> None:
    parser = make_parser()
    commands = re.findall(r"`(holdfast [^`…]+)`", PAGE)

    known = {name for action in parser._actions for name in (action.choices or {})}
    assert len(commands) > 15
    assert {command.split()[1] for command in commands} <= known


def test_p1_snapshots_are_pulled_by_rsync_over_ssh(story: Story, estate: Estate) -> None:
    tree = tree_of(of_ours(story)[0])

    assert "rrsync -ro" in story["added"]["authorized_keys"]
    assert (tree / "etc/hosts").read_text() == "127.0.0.1 localhost web-01\n"
    assert (tree / "srv/data.bin").read_bytes() == (estate.source / "srv/data.bin").read_bytes()
    assert "Accepted publickey" in estate.server.log()


@pytest.mark.usefixtures("story")
def test_p2_sql_is_the_source_of_truth(estate: Estate) -> None:
    before = [estate.json(*words) for words in (("host", "list"), ("job", "list"), ("snapshot", "list"))]

    with Redis.from_url(os.environ["REDIS_URL"]) as queue:
        queue.flushall()

    assert [estate.json(*words) for words in (("host", "list"), ("job", "list"), ("snapshot", "list"))] == before


def test_p3_sqlite_or_postgresql_and_no_mariadb(monkeypatch: pytest.MonkeyPatch, estate: Estate) -> None:
    assert (Path(os.environ["HOLDFAST_DATA_DIR"]) / "holdfast.sqlite").is_file()
    monkeypatch.setenv("DATABASE_URL", "mysql://root@127.0.0.1/holdfast")

    said = estate("host", "list")

    assert said.code != 0
    assert "DATABASE_URL" in said.err
    assert "MariaDB is not supported" in answer("P-3")


def test_p4_the_engine_shares_unchanged_files(story: Story) -> None:
    newer, older = (tree_of(one) for one in of_ours(story))

    assert (newer / "srv/data.bin").stat().st_ino == (older / "srv/data.bin").stat().st_ino
    assert (newer / "etc/hosts").stat().st_ino != (older / "etc/hosts").stat().st_ino


def test_p5_a_scheduler_process_starts_what_is_due(story: Story) -> None:
    assert story["first"]["scheduled_at"].endswith("T03:30:00Z")
    assert story["first"]["status"] == "completed"
    assert not list(Path("/etc/cron.d").glob("*holdfast*"))


def test_p6_yaml_is_for_import_and_export_only(story: Story, estate: Estate) -> None:
    exported = yaml.safe_load(estate("host", "export").out)

    assert "web-01" in str(exported)
    assert story["added"]["authorized_keys"].split()[-2] not in str(exported)
    assert yaml_readers() == {"host_prefix.py", "host_yaml.py"}


def test_p7_it_needs_python_rsync_ssh_and_keys(story: Story) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    checks = {check["key"]: check["state"] for check in story["test"]["checks"]}

    assert project["requires-python"].startswith(">=3.11")
    assert {checks["ssh"], checks["rsync"], checks["local_rsync"]} == {"passed"}
    assert not any("password" in option for option in options_of("host", "configure"))


def test_p8_one_command_starts_it_for_development() -> None:
    assert re.search(r"^run:", MAKEFILE, re.MULTILINE)
    assert "make run" in answer("P-8")


def test_p9_everything_has_its_pages(world: World) -> None:
    for path in ("/hosts", "/instances/1", "/jobs/1", "/runs", "/restore-points", "/settings", "/audit"):
        assert world.alice.get(path).status_code == 200, path
    assert world.alice.get("/admin/").status_code == 404


def test_p10_status_hosts_snapshots_and_runs_are_json_for_those_who_are_signed_in(world: World) -> None:
    for path, name in (("hosts", "hosts"), ("snapshots", "snapshots"), ("runs", "runs")):
        said = world.charlie.get(f"/api/v1/{path}")
        assert said.status_code == 200
        assert said.get_json()[name]
        assert world.mallory.get(f"/api/v1/{path}").status_code in (302, 303, 401)
    assert world.mallory.get("/readyz").get_json()


def test_p11_the_overview_shows_the_host(world: World) -> None:
    page = world.charlie.get("/").get_data(as_text=True)

    assert "web-01" in page


def test_p12_the_backup_root_is_configured(story: Story, estate: Estate) -> None:
    assert story["global"]["backup_root"] == str(estate.root)
    assert {one["root"] for one in story["snapshots"]} == {str(estate.root)}


def test_p13_a_host_is_configured_with_its_address(story: Story) -> None:
    assert (story["added"]["name"], story["added"]["address"]) == ("web-01", "127.0.0.1")


def test_p14_a_backup_is_taken_and_pruned(story: Story) -> None:
    run, pruning = story["second"]

    assert (run["type"], run["status"]) == ("backup", "completed")
    assert (pruning["type"], pruning["plan"]["dropped"]) == ("retention", [of_ours(story)[1]["id"]])


def test_p15_a_schedule_is_added_or_changed(story: Story) -> None:
    assert story["created"]["cron"] == "15 2 * * *"
    assert story["changed"]["cron"] == "30 3 * * *"
    assert story["changed"]["id"] == story["created"]["id"]
    assert story["changed"]["retention_rules"] == story["created"]["retention_rules"] == {"last": 1}


def test_p16_the_scheduler_takes_loop_and_interval() -> None:
    typed = make_parser().parse_args(["scheduler", "--loop", "--interval", "60"])

    assert (typed.loop, typed.interval) == (True, 60)
    assert scheduler_settings(read_settings(), 60).reconcile_seconds == 30
    assert scheduler_settings(read_settings(), 7).reconcile_seconds == 7


def test_p17_there_is_a_worker_command() -> None:
    assert make_parser().parse_args(["worker"]).run.__name__ == "work"


def test_p18_retention_shows_its_plan_and_changes_nothing(story: Story, estate: Estate) -> None:
    before = estate.json("snapshot", "list", "--all")

    plan = estate.json("retention", "web-01")

    assert [kept["archive_id"] for kept in plan[0]["keep"]] == [of_ours(story)[0]["id"]]
    assert "newest verified backup" in estate("retention", "web-01").out
    assert estate.json("snapshot", "list", "--all") == before


@pytest.mark.usefixtures("story")
def test_p19_applying_needs_apply_yes_and_obeys_the_cap(estate: Estate) -> None:
    without_yes = estate("retention", "web-01", "--apply", "--max-delete", "10")
    none_at_all = estate("retention", "web-01", "--apply", "--yes", "--max-delete", "0")
    applied = estate.json("retention", "web-01", "--apply", "--yes", "--max-delete", "10")

    assert (without_yes.code, none_at_all.code) == (2, 2)
    assert applied == [{"job_id": 1, "trashed": [], "remaining": 0}]


def test_p20_what_lies_on_disk_is_discovered_once(story: Story) -> None:
    assert story["found"]["details"]["added"] == 1
    assert (story["again"]["details"]["added"], story["again"]["details"]["known"]) == (0, 3)


def test_p21_the_commands_call_the_services_that_the_pages_call() -> None:
    for noun in ("hosts", "host_jobs", "snapshots"):
        source = (ROOT / f"webapp/commands/{noun}.py").read_text()
        assert "webapp.services" in source
        assert "webapp.engine" not in source
        assert "webapp.store.models" not in source
    assert make_parser().parse_args(["doctor"]).noun == "doctor"


def test_p22_configurations_of_pobsync_are_taken_in(estate: Estate, tmp_path: Path) -> None:
    hosts = tmp_path / "config" / "hosts"
    hosts.mkdir(parents=True)
    (tmp_path / "config" / "global.yaml").write_text(yaml.safe_dump({"backup_root": str(estate.root)}))
    (hosts / "db-01.yaml").write_text(yaml.safe_dump({"host": "db-01", "address": "192.0.2.30"}))

    preview = estate.json("host", "import", "--prefix", str(tmp_path))
    written = estate.json("host", "export", "--prefix", str(tmp_path))

    assert [row["name"] for row in preview["hosts"]] == ["db-01"]
    assert preview["added"] == []
    assert estate("host", "show", "db-01").code == 3
    assert yaml.safe_load(Path(written["file"]).read_text())


def test_p23_compose_starts_web_scheduler_and_workers_over_sqlite() -> None:
    assert {"web", "scheduler", "worker", "worker-urgent", "redis", "migrate"} <= set(COMPOSE["services"])
    assert "profiles" not in COMPOSE["services"]["web"]


def test_p24_the_other_database_is_a_profile() -> None:
    assert COMPOSE["services"]["postgres"]["profiles"] == ["postgres"]
    assert "mariadb" not in (ROOT / "docker-compose.yml").read_text().lower()
    assert "`postgres`" in answer("P-24")


def test_p25_data_lies_in_volumes() -> None:
    assert {"data:/data", "archives:/archives"} <= set(COMPOSE["services"]["worker"]["volumes"])


def test_p26_the_backup_root_is_mounted_at_backups() -> None:
    for name in ("web", "worker", "scheduler"):
        assert "${HOLDFAST_BACKUPS:-./backups}:/backups" in COMPOSE["services"][name]["volumes"]
    assert "configure-global --backup-root /backups" in (ROOT / "docs/operations.md").read_text()


def test_p27_each_snapshot_has_a_record_with_its_base(story: Story, estate: Estate) -> None:
    newer, older = of_ours(story)

    assert (newer["base_id"], newer["base_name"]) == (older["id"], older["name"])
    with estate.inside():
        column = SnapshotRecord.__table__.c.base_id
        assert column.nullable
        assert [key.ondelete for key in column.foreign_keys] == ["SET NULL"]


def test_p28_plans_are_made_from_records(story: Story, estate: Estate) -> None:
    stranger = estate.root / "web-01" / "2026-09-01T02-15-00"
    stranger.mkdir()
    try:
        plan = estate.json("retention", "web-01")[0]
        told = {one["archive_id"] for one in (*plan["keep"], *plan["drop"])}
        assert told <= {one["id"] for one in story["snapshots"]}
    finally:
        stranger.rmdir()


def test_p29_pruning_follows_the_recorded_snapshot(story: Story) -> None:
    run, pruning = story["second"]

    assert pruning["id"] > run["id"]
    assert pruning["created_at"] >= of_ours(story)[0]["verified_at"]
    assert of_ours(story)[1]["state"] == "trashed"


def test_p30_discovery_is_an_action_of_the_hosts_page_and_reads_only(
    story: Story, world: World, estate: Estate
) -> None:
    page = world.bob.get("/instances/1").get_data(as_text=True)
    found = estate.root / "web-01" / "2026-10-01T02-15-00"

    assert "/instances/1/discover" in page
    assert [path.name for path in found.iterdir()] == ["etc"]
    assert story["snapshots"][-1]["origin"] == "discovered"


def test_p31_the_plan_is_a_page_before_anything_is_pruned(world: World) -> None:
    page = world.bob.get("/jobs/1/retention").get_data(as_text=True)

    assert "newest verified" in page
    assert "plain" not in page


def test_p32_the_job_editor_writes_the_same_schedule(world: World) -> None:
    page = world.bob.get("/jobs/1/edit").get_data(as_text=True)

    assert "30 3 * * *" in page


def test_p33_a_hosts_identity_survives_a_new_name_and_address(story: Story, estate: Estate) -> None:
    moved = estate.json("host", "configure", "web-01", "--rename", "web-one", "--customer", "Acme")
    back = estate.json("host", "configure", "web-one", "--rename", "web-01", "--customer", "")

    assert (moved["id"], moved["directory"]) == (story["added"]["id"], story["added"]["directory"])
    assert back["directory"] == story["added"]["directory"]


def test_p34_requests_are_rows_that_a_worker_executes(story: Story, estate: Estate) -> None:
    run = story["second"][0]

    assert run["created_at"] <= run["started_at"]
    with estate.inside():
        assert db.session.get(Task, run["id"]) is not None
    assert run["queue_task_id"] == f"run-{run['id']}"


def test_p35_a_runner_executes_a_run_that_exists(story: Story, estate: Estate) -> None:
    with estate.inside():
        run = db.session.get_one(Run, story["first"]["id"])
        assert (run.fence, run.attempt) == (1, 1)
    assert (ROOT / "webapp/services/execution.py").is_file()


def test_p36_runs_by_hand_and_by_schedule_are_told_apart(story: Story) -> None:
    assert story["first"]["triggered_by"] == "scheduled"
    assert story["second"][0]["triggered_by"].startswith("manual")


def test_p37_the_tests_are_there() -> None:
    for name in ("queue", "services", "cli", "parity"):
        assert list((ROOT / "tests" / name).glob("test_*.py")), name


def test_p38_names_and_locks_belong_to_the_host(story: Story, estate: Estate) -> None:
    assert all(re.fullmatch(r"\d{8}T\d{6}Z", one["name"]) for one in of_ours(story))
    with host_lock(str(estate.root), "web-01"), pytest.raises(StoreError), host_lock(str(estate.root), "web-01"):
        pass


def test_p39_the_life_of_a_snapshot_is_typed() -> None:
    for value in (snapshot_plans.SnapshotPlan, snapshot_plans.SnapshotResult, snapshot_manifest.SnapshotManifest):
        assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_p40_no_dictionary_configures_the_engine() -> None:
    said = inspect.signature(take.take)

    assert [parameter.annotation for parameter in said.parameters.values()] == ["SnapshotPlan", "Reporter"]
    assert said.return_annotation == "SnapshotResult"


def test_p41_nothing_runs_on_yaml() -> None:
    for name in ("instances.py", "hosts.py", "snapshot_runs.py", "settings.py"):
        assert "yaml" not in (ROOT / "webapp/services" / name).read_text().lower()


def test_p42_the_plan_that_is_shown_is_applied_from_the_page(world: World, estate: Estate) -> None:
    digest = estate.json("retention", "web-01")[0]["digest"]
    wrong = world.bob.submit("/jobs/1/retention/apply", {"digest": "0" * 64, "most": "10"})
    right = world.bob.submit("/jobs/1/retention/apply", {"digest": digest, "most": "10"})

    assert wrong.status_code == 409
    assert right.status_code == 303
