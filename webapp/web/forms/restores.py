"""The restore wizard's form: all it knows travels in the address and in hidden fields, so that every step is a plain page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from webapp.core.errors import InvalidInput
from webapp.core.restore_plans import RestoreOptions
from webapp.core.status import RestoreTarget
from webapp.services.restores import RestoreChoices, RestoreWish

STEPS = ("source", "target", "options")
STEP_OF_FIELD = {
    **dict.fromkeys(("target", "instance_id", "database", "piece", "directory"), "target"),
    **dict.fromkeys(
        ("with_filestore", "new_identity", "neutralise", "owner", "jobs", "keep_days", "file_owner", "file_mode"),
        "options",
    ),
}
BY_TARGET = ("instance_id", "database", "piece")
TICKS = ("with_filestore", "new_identity", "neutralise")
LONGEST = 300


@dataclass(frozen=True, slots=True)
class RestoreDraft:
    """What was chosen so far, as text.

    ``chosen`` is the target that the options were chosen for: for any other one they are first values again, so that nobody
    makes a copy with the options of a replacement. Where they were chosen, a missing tick means no.
    """

    archive: str = ""
    target: str = RestoreTarget.NEW_DATABASE.value
    instance_id: str = ""
    database: str = ""
    piece: str = ""
    directory: str = ""
    chosen: str = ""
    with_filestore: str = ""
    new_identity: str = ""
    neutralise: str = ""
    owner: str = ""
    jobs: str = "2"
    keep_days: str = "7"
    file_owner: str = ""
    file_mode: str = ""

    def query(self, *without: str) -> dict[str, str]:
        """What goes into an address: everything but what is empty or not wanted there."""
        return {name: value for name, value in asdict(self).items() if value and name not in without}

    @property
    def goal(self) -> RestoreTarget:
        """The target as a word of ours."""
        return RestoreTarget(self.target)


def read_restore(form: Mapping[str, str]) -> RestoreDraft:
    """The draft. Fields that each target has for itself ("database_replace") win over the plain ones."""
    known = {field.name for field in fields(RestoreDraft)}
    values = {name: form[name][:LONGEST] for name in known if name in form}
    if values.get("target") not in {word.value for word in RestoreTarget}:
        values.pop("target", None)
    draft = RestoreDraft(**values)
    own = {name: form[f"{name}_{draft.target}"] for name in BY_TARGET if f"{name}_{draft.target}" in form}
    return replace(draft, **{name: value[:LONGEST] for name, value in own.items()})


def with_defaults(draft: RestoreDraft, choices: RestoreChoices) -> RestoreDraft:
    """The draft with sensible first values for everything that was not chosen yet."""
    goal = draft.goal
    if goal not in choices.targets:
        goal = choices.targets[0]
    if draft.chosen == goal.value:
        return replace(draft, target=goal.value)
    place = draft.instance_id.strip()
    options = choices.default_options(
        goal,
        instance_id=int(place) if place.isascii() and place.isdigit() and len(place) < 10 else None,
        database=draft.database.strip(),
    )
    ticks = {name: "1" if getattr(options, name) else "" for name in TICKS}
    return replace(draft, target=goal.value, keep_days=str(options.keep_days), jobs=str(options.jobs), **ticks)


def to_wish(draft: RestoreDraft) -> RestoreWish:
    """What is asked of the service. Raises InvalidInput for what should be a number and is none."""
    goal = draft.goal
    ends_in_database = goal.is_database or (goal is RestoreTarget.FILESTORE and draft.instance_id)
    return RestoreWish(
        archive_id=_number(draft.archive, "archive"),
        target=goal,
        instance_id=_number(draft.instance_id, "instance_id") if ends_in_database and draft.instance_id else None,
        database=draft.database.strip() if ends_in_database else "",
        options=RestoreOptions(
            with_filestore=draft.with_filestore == "1",
            new_identity=draft.new_identity == "1" and goal.is_database,
            neutralise=draft.neutralise == "1" and goal.is_database,
            owner=draft.owner.strip(),
            jobs=_number(draft.jobs, "jobs"),
            piece=draft.piece.strip(),
            directory=draft.directory.strip() if not goal.is_database else "",
            file_owner=draft.file_owner.strip(),
            file_mode=draft.file_mode.strip(),
            keep_days=_number(draft.keep_days, "keep_days"),
        ),
    )


def draft_of(wish: RestoreWish) -> RestoreDraft:
    """The inverse: back from a check to the form that it was made from."""
    options = wish.options.as_json()
    texts = {
        name: ("1" if value else "") if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if name in {field.name for field in fields(RestoreDraft)}
    }
    return RestoreDraft(
        archive=str(wish.archive_id),
        target=wish.target.value,
        instance_id=str(wish.instance_id or ""),
        database=wish.database,
        chosen=wish.target.value,
        **texts,
    )


def _number(text: str, field: str) -> int:
    clean = text.strip()
    if clean.isascii() and clean.isdigit() and len(clean) < 10:
        return int(clean)
    raise InvalidInput("This is no number.", field=field)
