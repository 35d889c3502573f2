"""Databases kept from before a replacement: removed for good when a person or a timer says so."""

from __future__ import annotations

import posixpath

from webapp.core.plans import PostgresPlan
from webapp.core.restore_plans import TargetIdentity
from webapp.engine.pgconnect import open_access
from webapp.engine.report import Reporter
from webapp.engine.restore.databases import (
    RestoreError,
    changed,
    drop_database,
    find_by_oid,
    find_database,
    restore_session,
    system_identifier,
)
from webapp.engine.restore.place_kinds import place_of


def remove_kept(
    server: PostgresPlan, kept_name: str, identity: TargetIdentity, filestore_path: str, reporter: Reporter
) -> None:
    """Drop a kept database and delete its filestore; what is gone already is fine. Raises HoldfastError.

    Nothing is touched unless the server and the database of that name are the very ones of ``identity``, and nobody has
    let people into it again.
    """
    if filestore_path and posixpath.basename(filestore_path.rstrip("/")) != kept_name:
        raise RestoreError(
            f"{filestore_path} does not carry the name of the kept database {kept_name}, so it is not deleted.",
            hint="Look at it, and remove it by hand.",
        )
    with (
        open_access(server, reporter) as access,
        restore_session(access, server.maintenance_database, reporter) as control,
    ):
        if system_identifier(control, access.place) != identity.system_identifier:
            raise changed(f"The server at {access.place} is not the one on which {kept_name} was kept.")
        named = find_database(control, kept_name)
        if named is not None and named.oid != identity.database_oid:
            raise changed(f"The database {kept_name!r} is not the one that was kept: it was made anew since.")
        found = find_by_oid(control, identity.database_oid) if identity.database_oid is not None else None
        if found is not None and found.name != kept_name:
            raise changed(f"The kept database was renamed to {found.name!r}: somebody uses it again.")
        if found is not None and found.allows_connections:
            raise changed(f"The kept database {kept_name!r} lets people in again: somebody uses it.")
        if found is not None:
            reporter.step("remove", "Remove the kept database", kept_name)
            drop_database(control, found, reporter)
    if filestore_path:
        reporter.step("filestore", "Remove its filestore", filestore_path)
        place_of(server.filestore).remove(filestore_path, reporter)
