"""Create all tables, and make the audit log append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("subject_kind", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=True),
        sa.Column("subject_name", sa.String(length=160), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_event_hash")),
    )
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_event_actor"), ["actor"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_event"), ["event"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_event_subject_kind"), ["subject_kind"], unique=False)

    op.create_table(
        "beat",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_beat")),
    )
    with op.batch_alter_table("beat", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_beat_kind"), ["kind"], unique=False)

    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("customer", sa.String(length=128), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("url", sa.String(length=512), nullable=False),
        sa.Column("host_header", sa.String(length=255), nullable=False),
        sa.Column("master_password", sa.Text(), nullable=True),
        sa.Column("tls_ca_pem", sa.Text(), nullable=False),
        sa.Column("tls_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("allow_plain_http", sa.Boolean(), nullable=False),
        sa.Column("pg_host", sa.String(length=255), nullable=False),
        sa.Column("pg_port", sa.Integer(), nullable=False),
        sa.Column("pg_user", sa.String(length=63), nullable=False),
        sa.Column("pg_password", sa.Text(), nullable=True),
        sa.Column("pg_sslmode", sa.String(length=16), nullable=False),
        sa.Column("pg_ssl_root_cert", sa.Text(), nullable=False),
        sa.Column("pg_maintenance_database", sa.String(length=63), nullable=False),
        sa.Column("pg_through_ssh", sa.Boolean(), nullable=False),
        sa.Column("filestore_kind", sa.String(length=40), nullable=False),
        sa.Column("filestore_path", sa.String(length=1024), nullable=False),
        sa.Column("ssh_host", sa.String(length=255), nullable=False),
        sa.Column("ssh_port", sa.Integer(), nullable=False),
        sa.Column("ssh_user", sa.String(length=64), nullable=False),
        sa.Column("ssh_private_key", sa.Text(), nullable=True),
        sa.Column("ssh_public_key", sa.String(length=1024), nullable=False),
        sa.Column("ssh_host_key", sa.String(length=2048), nullable=False),
        sa.Column("database_selection", sa.String(length=40), nullable=False),
        sa.Column("databases", sa.JSON(), nullable=False),
        sa.Column("target_age_hours", sa.Integer(), nullable=False),
        sa.Column("paused_at", sa.DateTime(), nullable=True),
        sa.Column("paused_by", sa.String(length=80), nullable=False),
        sa.Column("pause_reason", sa.String(length=255), nullable=False),
        sa.Column("paused_until", sa.DateTime(), nullable=True),
        sa.Column("muted_until", sa.DateTime(), nullable=True),
        sa.Column("mute_reason", sa.String(length=255), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("odoo_version", sa.String(length=32), nullable=False),
        sa.Column("postgresql_version", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("slug", name=op.f("uq_instance_slug")),
        sa.UniqueConstraint("uid", name=op.f("uq_instance_uid")),
    )
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instance_customer"), ["customer"], unique=False)
        batch_op.create_index(batch_op.f("ix_instance_deleted_at"), ["deleted_at"], unique=False)

    op.create_table(
        "setting",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_setting")),
    )
    op.create_table(
        "throttle",
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("blocked_until", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttle")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=128), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("theme", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("password_changed_at", sa.DateTime(), nullable=False),
        sa.Column("last_sign_in_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("username", name=op.f("uq_user_username")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("database_selection", sa.String(length=40), nullable=True),
        sa.Column("databases", sa.JSON(), nullable=False),
        sa.Column("content", sa.String(length=40), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("cron", sa.String(length=200), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("spread_seconds", sa.Integer(), nullable=False),
        sa.Column("overlap_policy", sa.String(length=40), nullable=False),
        sa.Column("missed_policy", sa.String(length=40), nullable=False),
        sa.Column("cursor_at", sa.DateTime(), nullable=False),
        sa.Column("next_slot_at", sa.DateTime(), nullable=True),
        sa.Column("retention_mode", sa.String(length=40), nullable=False),
        sa.Column("retention_value", sa.Integer(), nullable=False),
        sa.Column("retention_rules", sa.JSON(), nullable=False),
        sa.Column("retention_frozen_at", sa.DateTime(), nullable=True),
        sa.Column("retention_frozen_reason", sa.String(length=400), nullable=False),
        sa.Column("retention_allowance", sa.Integer(), nullable=False),
        sa.Column("drill_policy", sa.String(length=40), nullable=False),
        sa.Column("drill_value", sa.Integer(), nullable=False),
        sa.Column("drill_checks", sa.JSON(), nullable=False),
        sa.Column("refresh", sa.JSON(), nullable=False),
        sa.Column("verification_level", sa.String(length=40), nullable=False),
        sa.Column("time_limit_seconds", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("retry_delay_seconds", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_job_instance_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_deleted_at"), ["deleted_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_next_slot_at"), ["next_slot_at"], unique=False)

    op.create_table(
        "task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("completed_at", sa.DateTime(), nullable=True),
        sa.Column("triggered_by", sa.String(length=100), nullable=False),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("progress_percent", sa.Integer(), nullable=True),
        sa.Column("progress_message", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=40), nullable=False),
        sa.Column("queue_task_id", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("retry_delay_seconds", sa.Integer(), nullable=False),
        sa.Column("time_limit_seconds", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=100), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("instance_name", sa.String(length=128), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_task_instance_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_queue_task_id"), ["queue_task_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_status"), ["status"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_type"), ["type"], unique=False)

    op.create_table(
        "user_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=256), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_user_session_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_user_session_token_digest")),
    )
    with op.batch_alter_table("user_session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_session_user_id"), ["user_id"], unique=False)

    op.create_table(
        "connection_test",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("databases", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_connection_test_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection_test")),
    )
    op.create_table(
        "retention_task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("database_name", sa.String(length=63), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_retention_task_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_retention_task_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_task")),
    )
    with op.batch_alter_table("retention_task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_retention_task_job_id"), ["job_id"], unique=False)

    op.create_table(
        "self_backup",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("relative_path", sa.String(length=512), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_self_backup_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_self_backup")),
    )
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("note", sa.String(length=255), nullable=False),
        sa.Column("missed_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_slot_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slot")),
        sa.UniqueConstraint("job_id", "scheduled_at", name=op.f("uq_slot_job_id_scheduled_at")),
    )
    with op.batch_alter_table("slot", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_slot_state"), ["state"], unique=False)

    op.create_table(
        "target_lock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=False),
        sa.Column("database_name", sa.String(length=63), nullable=False),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_target_lock_instance_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_target_lock_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_target_lock")),
        sa.UniqueConstraint("instance_id", "database_name", name=op.f("uq_target_lock_instance_id_database_name")),
    )
    with op.batch_alter_table("target_lock", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_target_lock_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_target_lock_task_id"), ["task_id"], unique=False)

    op.create_table(
        "task_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_log_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_log")),
        sa.UniqueConstraint("task_id", "n", name=op.f("uq_task_log_task_id_n")),
    )
    op.create_table(
        "task_step",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=120), nullable=False),
        sa.Column("detail", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("completed_at", sa.DateTime(), nullable=True),
        sa.Column("first_line", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_step_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_step")),
        sa.UniqueConstraint("task_id", "position", name=op.f("uq_task_step_task_id_position")),
    )
    op.create_table(
        "fan_out",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_fan_out_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_fan_out_job_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_fan_out_slot_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fan_out")),
        sa.UniqueConstraint("slot_id", name=op.f("uq_fan_out_slot_id")),
    )
    with op.batch_alter_table("fan_out", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fan_out_job_id"), ["job_id"], unique=False)

    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("job_name", sa.String(length=128), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(), nullable=True),
        sa.Column("database_name", sa.String(length=63), nullable=False),
        sa.Column("content", sa.String(length=40), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("verification_level", sa.String(length=40), nullable=False),
        sa.Column("verification_status", sa.String(length=40), nullable=False),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("database_bytes", sa.BigInteger(), nullable=True),
        sa.Column("filestore_bytes", sa.BigInteger(), nullable=True),
        sa.Column("retry_of_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_run_job_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["retry_of_id"], ["run.id"], name=op.f("fk_run_retry_of_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_run_slot_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("slot_id", "database_name", name=op.f("uq_run_slot_id_database_name")),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_database_name"), ["database_name"], unique=False)
        batch_op.create_index(batch_op.f("ix_run_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_run_scheduled_at"), ["scheduled_at"], unique=False)

    op.create_table(
        "archive",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("instance_name", sa.String(length=128), nullable=False),
        sa.Column("database_name", sa.String(length=63), nullable=False),
        sa.Column("content", sa.String(length=40), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("relative_path", sa.String(length=512), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("taken_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("verification_status", sa.String(length=40), nullable=False),
        sa.Column("verification_level", sa.String(length=40), nullable=False),
        sa.Column("verified_at", sa.DateTime(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("row_total", sa.BigInteger(), nullable=True),
        sa.Column("table_count", sa.Integer(), nullable=True),
        sa.Column("attachment_count", sa.Integer(), nullable=True),
        sa.Column("odoo_version", sa.String(length=32), nullable=False),
        sa.Column("postgresql_version", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=40), nullable=False),
        sa.Column("pinned_at", sa.DateTime(), nullable=True),
        sa.Column("pinned_by", sa.String(length=100), nullable=False),
        sa.Column("pin_note", sa.String(length=255), nullable=False),
        sa.Column("drill_status", sa.String(length=40), nullable=False),
        sa.Column("drilled_at", sa.DateTime(), nullable=True),
        sa.Column("drill_seconds", sa.Double(), nullable=True),
        sa.Column("drill_report", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=False),
        sa.Column("trashed_at", sa.DateTime(), nullable=True),
        sa.Column("trash_until", sa.DateTime(), nullable=True),
        sa.Column("trashed_by", sa.String(length=100), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("delete_reason", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_archive_instance_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_archive_job_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_archive_run_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive")),
        sa.UniqueConstraint("relative_path", name=op.f("uq_archive_relative_path")),
        sa.UniqueConstraint("run_id", name=op.f("uq_archive_run_id")),
    )
    with op.batch_alter_table("archive", schema=None) as batch_op:
        batch_op.create_index(
            "ix_archive_instance_database", ["instance_id", "database_name", "taken_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_archive_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_archive_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_archive_taken_at"), ["taken_at"], unique=False)

    op.create_table(
        "drill",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["archive_id"], ["archive.id"], name=op.f("fk_drill_archive_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_drill_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drill")),
    )
    with op.batch_alter_table("drill", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_drill_archive_id"), ["archive_id"], unique=False)

    op.create_table(
        "restore_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("target_database", sa.String(length=63), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_restore_check_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_restore_check_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restore_check")),
    )
    with op.batch_alter_table("restore_check", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_restore_check_archive_id"), ["archive_id"], unique=False)

    op.create_table(
        "verification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_verification_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_verification_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
    )
    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_verification_archive_id"), ["archive_id"], unique=False)

    op.create_table(
        "restore",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("check_id", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("target_database", sa.String(length=63), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("journal", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("safety_run_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["archive_id"], ["archive.id"], name=op.f("fk_restore_archive_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["check_id"], ["restore_check.id"], name=op.f("fk_restore_check_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_restore_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_restore_job_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["safety_run_id"], ["run.id"], name=op.f("fk_restore_safety_run_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["slot_id"], ["slot.id"], name=op.f("fk_restore_slot_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restore")),
        sa.UniqueConstraint("slot_id", name=op.f("uq_restore_slot_id")),
    )
    with op.batch_alter_table("restore", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_restore_archive_id"), ["archive_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_restore_job_id"), ["job_id"], unique=False)

    op.create_table(
        "kept_database",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("restore_id", sa.Integer(), nullable=True),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("instance_name", sa.String(length=128), nullable=False),
        sa.Column("database_name", sa.String(length=63), nullable=False),
        sa.Column("kept_name", sa.String(length=63), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("filestore_path", sa.String(length=1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("remove_after", sa.DateTime(), nullable=True),
        sa.Column("removed_at", sa.DateTime(), nullable=True),
        sa.Column("removed_by", sa.String(length=100), nullable=False),
        sa.Column("remove_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_kept_database_instance_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["restore_id"], ["restore.id"], name=op.f("fk_kept_database_restore_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_database")),
    )
    with op.batch_alter_table("kept_database", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_kept_database_instance_id"), ["instance_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_kept_database_remove_after"), ["remove_after"], unique=False)

    op.create_table(
        "kept_removal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kept_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_kept_removal_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["kept_id"], ["kept_database.id"], name=op.f("fk_kept_removal_kept_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_removal")),
    )
    with op.batch_alter_table("kept_removal", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_kept_removal_kept_id"), ["kept_id"], unique=False)
    _make_audit_append_only()


def downgrade() -> None:
    with op.batch_alter_table("kept_removal", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_kept_removal_kept_id"))

    op.drop_table("kept_removal")
    with op.batch_alter_table("kept_database", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_kept_database_remove_after"))
        batch_op.drop_index(batch_op.f("ix_kept_database_instance_id"))

    op.drop_table("kept_database")
    with op.batch_alter_table("restore", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_restore_job_id"))
        batch_op.drop_index(batch_op.f("ix_restore_archive_id"))

    op.drop_table("restore")
    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_verification_archive_id"))

    op.drop_table("verification")
    with op.batch_alter_table("restore_check", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_restore_check_archive_id"))

    op.drop_table("restore_check")
    with op.batch_alter_table("drill", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_drill_archive_id"))

    op.drop_table("drill")
    with op.batch_alter_table("archive", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_archive_taken_at"))
        batch_op.drop_index(batch_op.f("ix_archive_state"))
        batch_op.drop_index(batch_op.f("ix_archive_job_id"))
        batch_op.drop_index("ix_archive_instance_database")

    op.drop_table("archive")
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_scheduled_at"))
        batch_op.drop_index(batch_op.f("ix_run_job_id"))
        batch_op.drop_index(batch_op.f("ix_run_database_name"))

    op.drop_table("run")
    with op.batch_alter_table("fan_out", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fan_out_job_id"))

    op.drop_table("fan_out")
    op.drop_table("task_step")
    op.drop_table("task_log")
    with op.batch_alter_table("target_lock", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_target_lock_task_id"))
        batch_op.drop_index(batch_op.f("ix_target_lock_instance_id"))

    op.drop_table("target_lock")
    with op.batch_alter_table("slot", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_slot_state"))

    op.drop_table("slot")
    op.drop_table("self_backup")
    with op.batch_alter_table("retention_task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_retention_task_job_id"))

    op.drop_table("retention_task")
    op.drop_table("connection_test")
    with op.batch_alter_table("user_session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_user_session_user_id"))

    op.drop_table("user_session")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_type"))
        batch_op.drop_index(batch_op.f("ix_task_status"))
        batch_op.drop_index(batch_op.f("ix_task_queue_task_id"))
        batch_op.drop_index(batch_op.f("ix_task_instance_id"))
        batch_op.drop_index(batch_op.f("ix_task_created_at"))

    op.drop_table("task")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_next_slot_at"))
        batch_op.drop_index(batch_op.f("ix_job_instance_id"))
        batch_op.drop_index(batch_op.f("ix_job_deleted_at"))

    op.drop_table("job")
    op.drop_table("user")
    op.drop_table("throttle")
    op.drop_table("setting")
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instance_deleted_at"))
        batch_op.drop_index(batch_op.f("ix_instance_customer"))

    op.drop_table("instance")
    with op.batch_alter_table("beat", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_beat_kind"))

    op.drop_table("beat")
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_event_subject_kind"))
        batch_op.drop_index(batch_op.f("ix_audit_event_event"))
        batch_op.drop_index(batch_op.f("ix_audit_event_at"))
        batch_op.drop_index(batch_op.f("ix_audit_event_actor"))

    op.drop_table("audit_event")


def _make_audit_append_only() -> None:
    """Triggers that refuse every UPDATE and DELETE of audit_event."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_event_no_{verb.lower()} BEFORE {verb} ON audit_event "
                "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()"
    )
