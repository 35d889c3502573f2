"""Add hosts and their snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "host",
        sa.Column("instance_id", sa.Integer(), nullable=False),
        sa.Column("directory", sa.String(length=64), nullable=False),
        sa.Column("backup_root", sa.String(length=1024), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("includes", sa.JSON(), nullable=False),
        sa.Column("excludes", sa.JSON(), nullable=False),
        sa.Column("own_excludes_only", sa.Boolean(), nullable=False),
        sa.Column("one_file_system", sa.Boolean(), nullable=True),
        sa.Column("bandwidth_kib", sa.Integer(), nullable=True),
        sa.Column("rsync_options", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("shrink_percent", sa.Integer(), nullable=True),
        sa.Column("sentinel_files", sa.JSON(), nullable=False),
        sa.Column("accepted_errors", sa.JSON(), nullable=False),
        sa.Column("shrink_accepted_at", sa.DateTime(), nullable=True),
        sa.Column("shrink_accepted_by", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_host_instance_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("instance_id", name=op.f("pk_host")),
        sa.UniqueConstraint("directory", name=op.f("uq_host_directory")),
    )
    op.create_table(
        "snapshot_discovery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backup_root", sa.String(length=1024), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_snapshot_discovery_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_discovery")),
    )
    op.create_table(
        "snapshot",
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(length=1024), nullable=False),
        sa.Column("directory", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("layout", sa.String(length=40), nullable=False),
        sa.Column("base_id", sa.Integer(), nullable=True),
        sa.Column("base_name", sa.String(length=128), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=True),
        sa.Column("directory_count", sa.BigInteger(), nullable=True),
        sa.Column("other_count", sa.BigInteger(), nullable=True),
        sa.Column("total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("new_files", sa.BigInteger(), nullable=True),
        sa.Column("new_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gone_files", sa.BigInteger(), nullable=True),
        sa.Column("transferred_bytes", sa.BigInteger(), nullable=True),
        sa.Column("transfer_seconds", sa.Double(), nullable=True),
        sa.Column("vanished", sa.Integer(), nullable=False),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("list_sha256", sa.String(length=64), nullable=False),
        sa.Column("read_at", sa.DateTime(), nullable=True),
        sa.Column("compared_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_snapshot_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["base_id"], ["snapshot.archive_id"], name=op.f("fk_snapshot_base_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("archive_id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("root", "directory", "name", name=op.f("uq_snapshot_root_directory_name")),
    )
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_base_id"), ["base_id"], unique=False)

    op.create_table(
        "snapshot_comparison",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_snapshot_comparison_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_snapshot_comparison_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_comparison")),
    )
    with op.batch_alter_table("snapshot_comparison", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_comparison_archive_id"), ["archive_id"], unique=False)

    op.create_table(
        "snapshot_removal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_snapshot_removal_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_snapshot_removal_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_removal")),
    )
    with op.batch_alter_table("snapshot_removal", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_removal_archive_id"), ["archive_id"], unique=False)

    op.create_table(
        "snapshot_restore",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archive_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("target_instance_id", sa.Integer(), nullable=True),
        sa.Column("target_path", sa.String(length=1024), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("delete_others", sa.Boolean(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("preview_id", sa.Integer(), nullable=True),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archive_id"], ["archive.id"], name=op.f("fk_snapshot_restore_archive_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["id"], ["task.id"], name=op.f("fk_snapshot_restore_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["preview_id"], ["snapshot_restore.id"], name=op.f("fk_snapshot_restore_preview_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["target_instance_id"],
            ["instance.id"],
            name=op.f("fk_snapshot_restore_target_instance_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_restore")),
    )
    with op.batch_alter_table("snapshot_restore", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshot_restore_archive_id"), ["archive_id"], unique=False)

    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paths", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("rides_with_id", sa.Integer(), nullable=True))
        batch_op.create_index(batch_op.f("ix_job_rides_with_id"), ["rides_with_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_job_rides_with_id"), "instance", ["rides_with_id"], ["id"], ondelete="SET NULL"
        )


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_job_rides_with_id"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_job_rides_with_id"))
        batch_op.drop_column("rides_with_id")
        batch_op.drop_column("paths")

    with op.batch_alter_table("snapshot_restore", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_restore_archive_id"))

    op.drop_table("snapshot_restore")
    with op.batch_alter_table("snapshot_removal", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_removal_archive_id"))

    op.drop_table("snapshot_removal")
    with op.batch_alter_table("snapshot_comparison", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_comparison_archive_id"))

    op.drop_table("snapshot_comparison")
    with op.batch_alter_table("snapshot", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_snapshot_base_id"))

    op.drop_table("snapshot")
    op.drop_table("snapshot_discovery")
    op.drop_table("host")
