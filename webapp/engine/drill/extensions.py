"""The extensions of a dump that only a superuser may make."""

from __future__ import annotations

from psycopg import sql

from webapp.engine.drill.cluster import ADMIN, LOADER, Cluster
from webapp.engine.drill.dump_head import DumpHead


def make_extensions(cluster: Cluster, head: DumpHead) -> frozenset[str]:
    """Make the extensions that the loader may not, before anything of the dump is in the database. Their names."""
    wanted = {name: schema for name, schema in head.extensions.items() if name not in cluster.server.trusted}
    with cluster.connect(ADMIN) as session:
        for name, schema in wanted.items():
            if schema not in ("public", "pg_catalog"):
                text = sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}")
                session.execute(text.format(sql.Identifier(schema), sql.Identifier(LOADER)))
            text = sql.SQL("CREATE EXTENSION {} WITH SCHEMA {} CASCADE")
            session.execute(text.format(sql.Identifier(name), sql.Identifier(schema)))
    return frozenset(wanted)
