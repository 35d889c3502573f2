"""Column types: aware UTC datetimes, stored words, sealed secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from webapp.core.plans import SEALED_PREFIX


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes in Python; naive UTC in the database. A naive value is refused."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware → naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Naive UTC → aware."""
        return None if value is None else value.replace(tzinfo=UTC)


class EnumText(TypeDecorator[StrEnum]):
    """A StrEnum stored as its word; an unknown word in the database is an error, not a guess."""

    impl = sa.String
    cache_ok = True

    def __init__(self, words: type[StrEnum], length: int = 40) -> None:
        super().__init__(length)
        self.words = words

    def process_bind_param(self, value: StrEnum | str | None, dialect: Dialect) -> str | None:
        """Word or member → word."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """Word → member."""
        return None if value is None else self.words(value)


class SealedText(TypeDecorator[str]):
    """Text sealed by the vault. Refuses anything that is not sealed, so a secret cannot be stored in the clear."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Check the seal."""
        if value is not None and not value.startswith(SEALED_PREFIX):
            raise ValueError("a secret must be sealed before it is stored")
        return value
