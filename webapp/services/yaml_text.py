"""YAML that people hand in: read without surprises, and looked up by the words that it may use for a thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from webapp.core.errors import InvalidInput

DEEPEST = 30


class _PlainDumper(yaml.SafeDumper):
    """Writes a list again where it is used twice, in place of a reference to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def read_mapping(text: str, what: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, its keys as text. Raises InvalidInput; references (&a, *a) are refused.

    A few hundred bytes of references stand for gigabytes of text, and no configuration needs them.
    """
    try:
        _check_shape(text, what)
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInput(f"{what} is no YAML{line}: {error.problem}.", field="file") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InvalidInput(f"{what} is no YAML.", field="file") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} is no list of named values.", field="file")
    return {str(key): value for key, value in found.items()}


def _check_shape(text: str, what: str) -> None:
    """Refuse references, and nesting that nobody means: the reader's time grows with its square."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidInput(
                f"{what} uses references (*name), which are not read.",
                field="file",
                hint="Write it out, and put a cron expression between quotation marks.",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise InvalidInput(f"{what} is nested deeper than {DEEPEST} levels.", field="file")


def write_mapping(data: Mapping[str, Any]) -> str:
    """The YAML of plain values, in the order given."""
    return yaml.dump(dict(data), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=120)


def as_text(value: Any) -> str:
    """One value as a person would type it; "" for none."""
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def as_lines(value: Any) -> str:
    """A list of values, or one, with one a line."""
    return "\n".join(as_text(item) for item in value) if isinstance(value, list) else as_text(value)


def as_list(value: Any) -> list[Any]:
    """A list as it is, nothing as an empty one, anything else as the only entry."""
    return value if isinstance(value, list) else [] if value is None else [value]


def as_mapping(value: Any) -> dict[str, Any]:
    """A mapping with its keys as text; an empty one for anything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
