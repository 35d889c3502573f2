"""The form of a refresh job: what the browser sent becomes a draft."""

from __future__ import annotations

from webapp.services.refresh_jobs import RefreshDraft
from webapp.web.forms.instances import Form, warn_of_unknown

TEXTS = ("name", "database", "target_database", "owner", "keep_days", "cron", "time_zone")
TICKS = ("enabled", "neutralise", "new_identity", "with_filestore", "safety_backup")
PLACES = ("source_instance_id", "target_instance_id")
KNOWN = frozenset({"csrf_token", "version", "then", *TEXTS, *TICKS, *PLACES})
LONGEST = 300


def read_refresh(form: Form) -> RefreshDraft:
    """The draft; a tick that was not sent is off."""
    warn_of_unknown(form, KNOWN)
    texts = {name: form[name][:LONGEST] for name in TEXTS if name in form}
    ticks = {name: form.get(name) == "1" for name in TICKS}
    places = {name: _number(form.get(name, "")) for name in PLACES}
    return RefreshDraft(**texts, **ticks, **places)  # type: ignore[arg-type]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
