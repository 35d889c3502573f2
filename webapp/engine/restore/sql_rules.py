"""Which statements of a dump a server gets: all but those that it cannot know, that name owners, or that reach beyond it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from webapp.engine.pgconnect import Connection
from webapp.engine.restore.sql_filter import refused

# Encodings in which a byte that looks like ASCII may be the second half of a character: quotes could not be told apart.
# https://www.postgresql.org/docs/current/multibyte.html, «Server? No»; pg_dump writes a database's own, never these.
_CLIENT_ONLY = ("BIG5", "GB18030", "GBK", "JOHAB", "SJIS", "SHIFT_JIS_2004", "UHC")
_IDENTIFIER = rb'(?:"(?:[^"]|"")*"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)'
_SET = re.compile(
    rb"SET\s+(?:SESSION\s+|LOCAL\s+)?(?P<name>[A-Za-z_][\w.]*)\s*(?:=|\s[Tt][Oo]\s)\s*(?P<value>.*)", re.I | re.S
)
_CONFIG = re.compile(rb"SELECT\s+(?:pg_catalog\.)?set_config\s*\(\s*'(?P<name>[^']*)'\s*,\s*'(?P<value>[^']*)'", re.I)
_OWNER = re.compile(rb"\bOWNER\s+TO\s+" + _IDENTIFIER + rb"\s*\Z", re.I)
_GRANTEES = re.compile(
    rb"\b(?:TO|FROM)\s+(?P<roles>(?:GROUP\s+)?" + _IDENTIFIER + rb"(?:\s*,\s*(?:GROUP\s+)?" + _IDENTIFIER + rb")*)"
    rb"(?:\s+WITH\s+GRANT\s+OPTION|\s+CASCADE|\s+RESTRICT)?(?:\s+GRANTED\s+BY\s+(?P<by>" + _IDENTIFIER + rb"))?\s*\Z",
    re.I,
)
_FOR_ROLE = re.compile(rb"ALTER\s+DEFAULT\s+PRIVILEGES\s+FOR\s+(?:ROLE|USER)\s+(?P<role>" + _IDENTIFIER + rb")", re.I)
_STATISTICS = re.compile(rb"SELECT\s+\*\s+FROM\s+pg_catalog\.pg_restore_(?:relation|attribute)_stats\b", re.I)
_WORDS = re.compile(rb"[A-Za-z]+")
_BEYOND = (b"DATABASE", b"ROLE", b"GROUP", b"TABLESPACE", b"SYSTEM")
_PSEUDO_ROLES = frozenset({"public", "current_user", "current_role", "session_user"})
_STATISTICS_SINCE = 180_000


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server knows. Made by ``facts_of``."""

    version_num: int
    settings: frozenset[str]
    roles: frozenset[str]
    user: str
    is_superuser: bool


def facts_of(connection: Connection) -> ServerFacts:
    """Ask the server what it knows."""
    settings = connection.execute("SELECT lower(name) FROM pg_settings").fetchall()
    roles = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    row = connection.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row is not None
    return ServerFacts(
        connection.info.server_version,
        frozenset(name for (name,) in settings),
        frozenset(name for (name,) in roles),
        str(row[0]),
        bool(row[1]),
    )


@dataclass(slots=True)
class StatementRules:
    """A judge for ``DumpFilter``. ``left_out`` counts what did not pass, by kind of statement."""

    server: ServerFacts
    left_out: Counter[str] = field(default_factory=Counter)

    def __call__(self, text: bytes) -> bool:
        """Whether the statement passes. Raises ArchiveError for one that no dump of a single database holds."""
        words = [word.upper() for word in _WORDS.findall(text[:100])[:3]] + [b""] * 3
        rule = _RULES.get(words[0])
        reason = rule(self, text, words[1]) if rule else ""
        if reason:
            self.left_out[reason] += 1
        return not reason

    def _set(self, text: bytes, second: bytes) -> str:
        if second in (b"ROLE", b"SESSION") and b"=" not in text:
            return "owners"
        match = _SET.match(text)
        if match is None:
            return ""
        name = match["name"].decode("ascii", "replace").lower()
        self._require_readable(name, match["value"])
        if name == "default_tablespace" and match["value"].strip() not in (b"''", b'""'):
            return "tablespaces"
        known = "." in name or name in self.server.settings or name in ("names", "time")
        return "" if known else "settings that the server does not know"

    def _select(self, text: bytes, second: bytes) -> str:
        match = _CONFIG.match(text)
        if match is not None:
            self._require_readable(match["name"].decode("utf-8", "replace").lower(), match["value"])
        if self.server.version_num < _STATISTICS_SINCE and _STATISTICS.match(text):
            return "statistics"
        return ""

    @staticmethod
    def _require_readable(name: str, value: bytes) -> None:
        said = value.strip().strip(b"'\"").decode("ascii", "replace")
        if name == "client_encoding" and said.upper() in _CLIENT_ONLY:
            raise refused(f"it is written in {said}, which pg_dump does not do by itself")
        if name == "standard_conforming_strings" and said.lower() not in ("on", "true", "yes", "1"):
            raise refused("it comes from a database with standard_conforming_strings off, whose strings are ambiguous")

    def _comment(self, text: bytes, second: bytes) -> str:
        match = re.match(rb"COMMENT\s+ON\s+(EXTENSION\b|SCHEMA\s+public\b)", text, re.I)
        return "comments on extensions" if match else ""

    def _create(self, text: bytes, second: bytes) -> str:
        if second in _BEYOND or re.match(rb"CREATE\s+USER\s+(?!MAPPING\b)", text, re.I):
            raise _reaches_beyond(text)
        return "subscriptions and publications" if second in (b"SUBSCRIPTION", b"PUBLICATION") else ""

    def _alter(self, text: bytes, second: bytes) -> str:
        if second in _BEYOND or re.match(rb"ALTER\s+USER\s+(?!MAPPING\b)", text, re.I):
            raise _reaches_beyond(text)
        if second in (b"SUBSCRIPTION", b"PUBLICATION"):
            return "subscriptions and publications"
        if _OWNER.search(text):
            return "owners"
        match = _FOR_ROLE.match(text)
        if match is not None:
            role = _name(match["role"])
            mine = self.server.is_superuser or role == self.server.user
            return self._grant(text, second) if mine and role in self.server.roles else "grants of or to missing roles"
        return ""

    def _drop(self, text: bytes, second: bytes) -> str:
        if second in (*_BEYOND, b"OWNED") or re.match(rb"DROP\s+USER\s+(?!MAPPING\b)", text, re.I):
            raise _reaches_beyond(text)
        return ""

    def _grant(self, text: bytes, second: bytes) -> str:
        match = _GRANTEES.search(text)
        if match is None:
            return ""
        found = re.findall(rb"(?:GROUP\s+)?(" + _IDENTIFIER + rb")\s*(?:,|\Z)", match["roles"], re.I)
        names = {_name(role) for role in [*found, *([match["by"]] if match["by"] else [])]}
        missing = {name for name in names if name.lower() not in _PSEUDO_ROLES and name not in self.server.roles}
        return "grants of or to missing roles" if missing else ""

    def _transaction(self, text: bytes, second: bytes) -> str:
        # pg_dump puts large objects between BEGIN and COMMIT; all is one transaction here, which they would end.
        return "transaction marks"

    def _never(self, text: bytes, second: bytes) -> str:
        raise refused(f"it holds {_WORDS.findall(text[:30])[0].decode().upper()}, which pg_dump does not write")


def _name(identifier: bytes) -> str:
    if identifier.startswith(b'"'):
        return identifier[1:-1].replace(b'""', b'"').decode("utf-8", "replace")
    return identifier.decode("utf-8", "replace").lower()


def _reaches_beyond(text: bytes) -> Exception:
    shown = b" ".join(text[:60].split()[:3]).decode("utf-8", "replace")
    return refused(f"its statement «{shown} …» is about the whole server, not about one database")


_Rule = Callable[[StatementRules, bytes, bytes], str]
_RULES: Mapping[bytes, _Rule] = {
    b"SET": StatementRules._set,
    b"RESET": lambda rules, text, second: "owners" if second in (b"SESSION", b"ROLE") else "",
    b"SELECT": StatementRules._select,
    b"COMMENT": StatementRules._comment,
    b"CREATE": StatementRules._create,
    b"ALTER": StatementRules._alter,
    b"DROP": StatementRules._drop,
    b"GRANT": StatementRules._grant,
    b"REVOKE": StatementRules._grant,
    b"BEGIN": StatementRules._transaction,
    b"COMMIT": StatementRules._transaction,
    b"START": StatementRules._never,
    b"END": StatementRules._never,
    b"ROLLBACK": StatementRules._never,
    b"ABORT": StatementRules._never,
    b"SAVEPOINT": StatementRules._never,
    b"PREPARE": StatementRules._never,
    b"LOAD": StatementRules._never,
}
