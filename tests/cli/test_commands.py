"""What the command line does, and how it answers people and programs."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from redis import Redis

from tests.cli.conftest import Shell
from tests.support.cast import PASSWORD
from webapp.queue.enqueue import RqQueue

INSTANCE = {
    "kind": "postgres",
    "name": "acme-prod",
    "pg_host": "db.acme.example",
    "pg_user": "backup",
    "pg_password": "hunter2 and more",
    "databases": ["acme_prod"],
}
JOB = {"name": "Nightly", "content": "database", "cron": "30 2 * * *", "time_zone": "Europe/Brussels"}
GOOD_PASSWORD = "green-lantern-over-seven-hills"


def write(directory: Path, name: str, value: object) -> str:
    path = directory / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


@pytest.fixture
def job(shell: Shell, tmp_path: Path) -> int:
    """An instance (1) with a job; returns the job's id."""
    assert shell.json("instance", "create", write(tmp_path, "instance.json", INSTANCE))["id"] == 1
    return int(shell.json("job", "create", "1", write(tmp_path, "job.json", JOB))["id"])


def test_an_empty_directory_becomes_a_migrated_one_with_a_setup_link(bare_shell: Shell) -> None:
    before = bare_shell("user", "list")
    first = bare_shell.json("migrate", "--with-setup-path")
    second = bare_shell.json("migrate")
    link = bare_shell.json("user", "setup-link", "--base-url", "https://backup.example.org/")

    assert before.code == 1
    assert "holdfast migrate" in before.err
    assert first["applied"] is True
    assert first["setup_path"].startswith("/setup?token=")
    assert second == {"applied": False, "revision": first["revision"]}
    assert link["url"] == "https://backup.example.org" + first["setup_path"]
    assert stat.S_IMODE(bare_shell.directory.stat().st_mode) == 0o700


def test_users_are_listed_added_disabled(shell: Shell, tmp_path: Path) -> None:
    password = write(tmp_path, "password", GOOD_PASSWORD + "\n")

    added = shell.json("user", "create", "Dave", "--role", "operator", "--password-file", password)
    disabled = shell.json("user", "disable", "dave")
    reset = shell("user", "reset-password", "bob", "--password-file", password)

    assert (added["username"], added["role"]) == ("dave", "operator")
    assert disabled["is_active"] is False
    assert reset.code == 0
    assert {user["username"] for user in shell.json("user", "list")} == {"alice", "bob", "charlie", "dave"}
    assert "dave" in shell("user", "list").out


def test_a_password_comes_from_standard_input_when_there_is_no_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Path(write(tmp_path, "typed", GOOD_PASSWORD + "\n")).open() as typed:
        monkeypatch.setattr("sys.stdin", typed)
        assert shell("user", "create", "erin").code == 0


def test_no_password_can_be_given_on_the_command_line(shell: Shell) -> None:
    assert shell("user", "create", "dave", "--password", PASSWORD).code == 2


def test_a_weak_password_is_a_value_that_cannot_be_used(shell: Shell, tmp_path: Path) -> None:
    said = shell("user", "create", "dave", "--password-file", write(tmp_path, "password", "password"))

    assert said.code == 2
    assert said.err.startswith("holdfast: ")


def test_what_is_not_there_is_exit_code_3_with_a_shape(shell: Shell) -> None:
    said = shell("user", "disable", "mallory", "--json")

    assert said.code == 3
    assert set(said.error) == {"code", "message", "hint"}
    assert "mallory" in said.error["message"]


def test_an_instance_is_added_shown_paused_and_resumed_without_its_password(shell: Shell, tmp_path: Path) -> None:
    created = shell("instance", "create", write(tmp_path, "instance.json", INSTANCE), "--json")
    number = str(created.data["id"])
    paused = shell.json("instance", "pause", number, "--reason", "moving house", "--hours", "2")
    shown = shell("instance", "show", number)
    resumed = shell.json("instance", "resume", number)

    assert created.code == 0
    assert paused["pause_reason"] == "moving house"
    assert paused["paused_until"].endswith("Z")
    assert "acme-prod" in shown.out
    assert resumed["paused_at"] is None
    assert "hunter2" not in created.out + shown.out + shell("instance", "list", "--json").out
    assert b"hunter2" not in (shell.directory / "holdfast.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"nmae": "x"}', "unknown fields: nmae"),
        ("[]", "one JSON object"),
        ("{", "not JSON"),
        ('{"allow_plain_http": "yes"}', "true or false"),
        ('{"databases": "acme"}', "list of names"),
        ('{"kind": "postgres", "name": ""}', "missing"),
    ],
)
def test_a_wrong_file_is_told_by_what_is_wrong(shell: Shell, tmp_path: Path, text: str, complaint: str) -> None:
    said = shell("instance", "create", write(tmp_path, "instance.json", text))

    assert said.code == 2
    assert complaint in said.err


def test_a_connection_test_is_pushed(shell: Shell, job: int, redis_client: Redis) -> None:
    task = shell.json("instance", "test", "1")

    assert (task["type"], task["status"]) == ("connection_test", "pending")
    assert RqQueue("default", connection=redis_client).job_ids == [f"test-{task['id']}"]


def test_a_job_is_run_cancelled_and_retried(shell: Shell, job: int, redis_client: Redis) -> None:
    asked = shell.json("job", "run", str(job))
    number = str(asked[0]["id"])
    waiting = RqQueue("backups", connection=redis_client).job_ids
    cancelled = shell.json("run", "cancel", number)
    again = shell.json("run", "retry", number)

    assert waiting == [f"run-{number}"]
    assert (cancelled["status"], cancelled["error_code"]) == ("failed", "cancelled")
    assert again["status"] == "pending"
    assert shell("run", "cancel", number).code == 4
    assert shell.json("run", "list")["total"] == 2
    assert shell.json("run", "list", "--status", "pending")["total"] == 1
    assert shell.json("run", "show", number)["database"] == "acme_prod"
    assert shell("run", "log", number).code == 0
    assert shell.json("tasks", "show", number)["outcome"] == "Cancelled"
    assert shell.json("tasks", "list", "--type", "backup")["total"] == 2


def test_without_redis_a_run_waits_and_the_command_succeeds(
    shell: Shell, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    asked = shell.json("job", "run", str(job))

    assert asked[0]["status"] == "pending"


def test_a_job_is_previewed_switched_off_and_on(shell: Shell, job: int) -> None:
    preview = shell.json("job", "preview", str(job), "--count", "3")
    off = shell.json("job", "pause", str(job))
    on = shell.json("job", "resume", str(job))

    assert len(preview["runs"]) == 3
    assert preview["retention"]["drop"] == []
    assert (off["enabled"], on["enabled"]) == (False, True)
    assert shell.json("job", "list")[0]["instance_name"] == "acme-prod"
    assert shell.json("job", "show", str(job))["cron"] == "30 2 * * *"


def test_lists_say_so_when_they_are_empty(shell: Shell) -> None:
    for words in (["instance", "list"], ["job", "list"], ["run", "list"], ["archive", "list"], ["tasks", "list"]):
        said = shell(*words)
        assert said.code == 0
        assert said.out.startswith("There are no ")


def test_waiting_ends_when_everything_is_there(shell: Shell) -> None:
    assert shell.json("wait", "--seconds", "5") == {"ready": True}


def test_waiting_fails_with_what_is_missing(bare_shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    unmigrated = bare_shell("wait", "--seconds", "0")
    bare_shell("migrate")
    unreachable = bare_shell("wait", "--seconds", "0")

    assert (unmigrated.code, unreachable.code) == (1, 1)
    assert "not up to date" in unmigrated.err
    assert "Redis cannot be reached. (redis://127.0.0.1:1/0)" in unreachable.err
    assert bare_shell("wait", "--for", "database", "--seconds", "0").code == 0


def test_nobody_is_alive_before_a_process_has_beaten(shell: Shell) -> None:
    said = shell("alive", "scheduler")

    assert said.code == 1
    assert "never" in said.out


def test_the_doctor_names_what_must_be_mended(shell: Shell) -> None:
    said = shell("doctor", "--json")

    states = {check["key"]: check["state"] for check in said.data["checks"]}
    assert said.code == 1
    assert said.data["ok"] is False
    assert states["python"] == states["database"] == states["migrations"] == states["redis"] == "ok"
    assert states["redis_settings"] == states["keys"] == states["clock"] == states["data_directory"] == "ok"
    assert states["scheduler"] == states["workers"] == "fail"
    assert set(states.values()) <= {"ok", "warn", "fail", "skip"}
    text = shell("doctor").out
    assert "fail  Workers" in text
    assert text.rstrip().endswith("to mend.")


def test_the_doctor_sees_an_open_directory_and_a_lost_key(shell: Shell, job: int) -> None:
    shell.directory.chmod(0o755)
    (shell.directory / "vault.key").unlink()

    states = {check["key"]: check for check in shell("doctor", "--json").data["checks"]}

    assert states["data_directory"]["state"] == "warn"
    assert states["keys"]["state"] == "fail"
    assert "acme-prod" in states["keys"]["detail"]


def test_a_wrong_setting_stops_with_its_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WORKERS", "many")

    said = shell("doctor")

    assert said.code == 1
    assert "HOLDFAST_WORKERS" in said.err


def test_a_queue_that_does_not_exist_is_refused(shell: Shell) -> None:
    said = shell("worker", "--queues", "backups,drills")

    assert said.code == 2
    assert "no queue drills" in said.err


def test_usage_is_exit_code_2_and_help_lists_the_nouns(shell: Shell) -> None:
    helped = shell("--help")

    assert shell("run").code == 2
    assert shell("nonsense").code == 2
    assert shell("run", "list", "--limit", "1").code == 0
    for number in ("0", "-1", "many", "9" * 30):
        assert shell("run", "list", "--limit", number).code == 2
    assert helped.code == 0
    assert all(noun in helped.out for noun in ("user", "instance", "job", "run", "archive", "tasks", "doctor", "up"))


def test_drills_are_asked_for_listed_and_shown(shell: Shell) -> None:
    lost = shell("drill", "start", "7", "--json")
    none = shell("drill", "list")
    unknown = shell("drill", "show", "7")

    assert (lost.code, unknown.code) == (3, 3)
    assert "no restore point 7" in lost.error["message"]
    assert none.out.strip() == "There are no restore drills."
    assert shell.json("drill", "list", "--instance", "1") == {"total": 0, "drills": []}
