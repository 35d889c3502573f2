"""The files that deploy Holdfast keep their promises; containers cannot be started here, so the files are read."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(name for name in SERVICES if name != "migrate")
OURS = ["web", "scheduler", "worker", "worker-urgent", "migrate"]


def test_all_services_are_there() -> None:
    assert set(SERVICES) == {*OURS, "redis", "postgres"}
    assert SERVICES["postgres"]["profiles"] == ["postgres"]


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_is_checked_restarted_and_limited(name: str) -> None:
    service = SERVICES[name]

    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_rotates_its_log_and_may_have_replicas(name: str) -> None:
    service = SERVICES[name]

    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "5m", "max-file": "5"}}
    assert "container_name" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


def test_only_the_web_is_published_and_only_here() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"web"}
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["redis"]["networks"] == SERVICES["postgres"]["networks"] == ["inside"]


@pytest.mark.parametrize("name", ["web", "scheduler", "worker", "worker-urgent"])
def test_processes_wait_for_the_migrations_and_redis(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "redis": {"condition": "service_healthy"},
    }


def test_the_migrate_service_ends_for_good() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["command"] == ["holdfast", "migrate"]


def test_secrets_come_from_files() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "_URL", "KEYS")):
                assert name.endswith("_FILE"), name
            assert "://" not in str(value)
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])


def test_redis_keeps_its_entries_and_never_evicts() -> None:
    script = (ROOT / "docker/redis.sh").read_text()

    for line in ("appendonly yes", "maxmemory-policy noeviction", "requirepass"):
        assert line in script
    assert "--requirepass" not in script


def test_a_worker_that_takes_no_backups_is_always_there() -> None:
    queues = SERVICES["worker-urgent"]["command"][-1].split(",")

    assert "backups" not in queues
    assert {"restores", "default"} <= set(queues)


def test_the_secrets_are_made_once_and_by_chance(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker/make-secrets.sh"
    script.write_text((ROOT / "docker/make-secrets.sh").read_text())
    made = []

    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=30)
        made.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})

    assert made[0] == made[1]
    assert set(made[0]) == set(COMPOSE["secrets"])
    assert len(made[0]["redis_password"]) == 40
    assert made[0]["redis_password"] in made[0]["redis_url"]
    assert made[0]["postgres_password"] in made[0]["database_url"]
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_the_image_is_built_from_the_lock_file_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()

    stages = [line for line in lines if line.startswith("FROM ")]
    assert stages == ["FROM python:3.12-slim-bookworm AS build", "FROM python:3.12-slim-bookworm"]
    assert any("--require-hashes -r /tmp/requirements.lock" in line for line in lines)
    assert "USER 1001:1001" in lines
    assert all(word in "\n".join(lines) for word in ("postgresql-client", "openssh-client", "rsync"))
    for line in lines:
        for source in re.findall(r"^COPY (?!--from)(.+) \S+$", line):
            assert all((ROOT / name).exists() for name in source.split() if name != "README.md"), line


def test_the_procfile_names_the_processes() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

    assert lines == {
        "release": "holdfast migrate",
        "web": "holdfast web",
        "worker": "holdfast worker",
        "scheduler": "holdfast scheduler",
    }


def test_the_scripts_can_be_run() -> None:
    for script in (ROOT / "docker").glob("*.sh"):
        assert os.access(script, os.X_OK), script
        subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)
