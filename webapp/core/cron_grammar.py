"""The text of a cron expression becomes sets of allowed values, or an error a person can act on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from webapp.core.errors import InvalidInput

MAX_LENGTH = 200
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_LONGEST_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SHORT_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_TERM = re.compile(r"(?P<first>\*|\d+|[A-Z]{3})(?:-(?P<last>\d+|[A-Z]{3}))?(?:/(?P<step>\d+))?", re.ASCII)


class CronError(InvalidInput, ValueError):
    """An expression or time zone that cannot be used, with ``message`` and ``hint`` as sentences."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A valid expression and the values it allows, each tuple ascending and never empty.

    Attributes:
        expression: Five fields, one space between, names in capitals, no leading zeros, short names expanded.
        fixed_hours: The rule for clock changes; see webapp/core/cron.py.
        weekdays: 0 (Sunday) to 6.
    """

    expression: str
    fixed_hours: bool
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def canonical(self) -> str:
        """Plain numbers and ``*``: what croniter cannot read in a way of its own (it takes `5-5` for `*`)."""
        return " ".join(
            "*" if len(v) == f.size else ",".join(map(str, v)) for f, v in zip(FIELDS, self._values(), strict=True)
        )

    @property
    def unrestricted(self) -> str:
        """The expression with ``*`` wherever a field allows every value: `1-31` restricts nothing."""
        texts = self.expression.split(" ")
        rows = zip(FIELDS, self._values(), texts, strict=True)
        return " ".join("*" if len(values) == field.size else text for field, values, text in rows)

    def _values(self) -> tuple[tuple[int, ...], ...]:
        return self.minutes, self.hours, self.days, self.months, self.weekdays


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its name, its bounds and the names its values may have."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many different values there are."""
        return self.high - self.low + 1

    @property
    def unit(self) -> str:
        """What the last value is followed by: the hour ends, the day ends, ..."""
        return {"minute": "hour", "hour": "day", "month": "year", "day of week": "week"}.get(self.name, "month")


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, tuple(name[:3].upper() for name in MONTH_NAMES)),
    Field("day of week", 0, 6, tuple(name[:3].upper() for name in DAY_NAMES)),
)


def parse(expression: str) -> Cron:
    """Read an expression; raises CronError for anything that is not defined here or could never run."""
    texts = [_normalise(text) for text in _split(expression)]
    values = [_read_field(field, text) for field, text in zip(FIELDS, texts, strict=True)]
    cron = Cron(" ".join(texts), not _has_wildcard(texts[1], values[1]), *values)
    _refuse_never(cron)
    return cron


def _split(expression: str) -> list[str]:
    """The five field texts in capitals."""
    if len(expression) > MAX_LENGTH:
        raise CronError(f"The cron expression is longer than {MAX_LENGTH} characters.", hint="Split it into two jobs.")
    text = expression.strip(" \t\r\n")
    if not text:
        raise CronError("The cron expression is empty.", hint="Write five fields, for example 30 2 * * *.")
    if not re.fullmatch(r"[ -~\t]+", text):
        raise CronError("The cron expression holds characters that do not belong there.", hint="Type it again.")
    if text.startswith("@"):
        text = _expand_short_name(text)
    texts = text.upper().split()
    if len(texts) != len(FIELDS):
        raise CronError(
            f"The cron expression has {len(texts)} {'field' if len(texts) == 1 else 'fields'}, not five.",
            hint="They are minute, hour, day of month, month and day of week; there are no seconds and no years.",
        )
    return texts


def _expand_short_name(text: str) -> str:
    try:
        return _SHORT_NAMES[text.lower()]
    except KeyError:
        names = ", ".join(_SHORT_NAMES)
        raise CronError(f"{text[:20]} is not a schedule that Holdfast knows.", hint=f"Known are {names}.") from None


def _normalise(text: str) -> str:
    """Without leading zeros and with `5-5` as `5`, so that equal expressions are written alike."""
    text = re.sub(r"\d+", lambda m: m[0].lstrip("0") or "0", text)
    return ",".join(re.sub(r"^(\w+)-\1(/1)?$", r"\1", term) for term in text.split(","))


def _has_wildcard(hour_text: str, hours: tuple[int, ...]) -> bool:
    return len(hours) == FIELDS[1].size or any(re.match(r"\*|0-23", term) for term in hour_text.split(","))


def _read_field(field: Field, text: str) -> tuple[int, ...]:
    values: set[int] = set()
    for term in text.split(","):
        values.update(_read_term(field, term))
    if field.name == "day of week":
        values = {value % 7 for value in values}
    return tuple(sorted(values))


def _read_term(field: Field, term: str) -> range:
    """The values of one list item; Sunday may still be 7 here."""
    match = _TERM.fullmatch(term)
    if match is None or (match["first"] == "*" and match["last"]):
        raise _refusal(field, term)
    if match["first"] == "*":
        first, last = field.low, field.high
    else:
        first = _read_value(field, match["first"])
        last = _read_value(field, match["last"], ends_range=True) if match["last"] else first
    if last < first:
        raise CronError(
            f"The range {term} in the {field.name} field runs backwards.",
            hint=f"Write it as two parts: {match['first']}-{field.high},{field.low}-{match['last']}.",
        )
    return range(first, last + 1, _read_step(field, term, last - first))


def _read_value(field: Field, text: str, *, ends_range: bool = False) -> int:
    if text in field.names:
        value = field.names.index(text) + field.low
        return 7 if text == "SUN" and ends_range else value
    high = 7 if field.name == "day of week" else field.high
    if not text.isdigit():
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise CronError(f"{text} means nothing in the {field.name} field.", hint=f"Use {field.low} to {high}{names}.")
    if not field.low <= int(text[:4]) <= high:
        raise CronError(f"{text[:10]} is not possible in the {field.name} field.", hint=f"Use {field.low} to {high}.")
    return int(text)


def _read_step(field: Field, term: str, span: int) -> int:
    """The step of a term, 1 when it has none; a step that never leaves the first value is refused."""
    base, slash, text = term.partition("/")
    if not slash:
        return 1
    if base != "*" and "-" not in base:
        raise CronError(
            f"{term} in the {field.name} field means different things in different programs.",
            hint=f"Write {base}-{field.high}/{text} if that is what you mean.",
        )
    step = int(text[:4])
    if step == 1 or 1 < step <= span:
        return step
    raise CronError(
        f"The step in {term[:20]} is not possible in the {field.name} field.",
        hint=f"Use 1 to {span}: steps begin again with each {field.unit}." if span else "One value needs no step.",
    )


_DIALECTS = (
    (r"\?", "Use * for «any»."),
    (r".+#.*", "The nth weekday of a month cannot be said in five plain fields; use a day of the month."),
    (
        r"L?W|L|.*\dL|L\d|.*\dW|W\d+|L-\d+",
        "Last days and nearest weekdays are unknown; every month has days 1 to 28.",
    ),
    (r"[HR](\(.*\))?(/.*)?", "Write the minute or hour itself; the job's start spread keeps jobs apart."),
)


def _refusal(field: Field, term: str) -> CronError:
    """The error for a term outside the grammar, with a hint for the dialects people bring along."""
    shown = term[:20] or "An empty item"
    for pattern, hint in _DIALECTS:
        if re.fullmatch(pattern, term):
            return CronError(f"{shown} in the {field.name} field is not supported.", hint=hint)
    return CronError(
        f"{shown} in the {field.name} field cannot be understood.",
        hint="Use numbers, lists (1,15), ranges (1-5), * and steps (*/15).",
    )


def _refuse_never(cron: Cron) -> None:
    """Refuse dates that no calendar has. Only the day of month can do that, and only while weekdays do not matter."""
    if len(cron.weekdays) < FIELDS[4].size:
        return
    first = cron.days[0]
    if any(first <= _LONGEST_MONTH_DAYS[month - 1] for month in cron.months):
        return
    if len(cron.months) == 1:
        what = f"There is no {first} {MONTH_NAMES[cron.months[0] - 1]}"
    else:
        what = f"None of these months has a day {first}"
    raise CronError(f"{what}, so this would never run.", hint="Choose a day that exists.")
