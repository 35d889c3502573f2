"""Which passwords are refused, and why. Length counts; composition rules do not exist (OWASP ASVS 5.0, 6.2)."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

SHORTEST = 12
LONGEST = 256
PRODUCT_WORDS = ("holdfast", "odoo", "postgresql", "postgres", "backup", "admin", "password")
_AROUND = "0123456789!?.,;:*+-_#$%&/()=@ "
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})


def find_weakness(password: str, *, username: str, common: Collection[str]) -> str | None:
    """Why the password is refused, as a sentence; None when it is good.

    Args:
        password: Exactly as typed: never trimmed, never cut.
        username: May not be most of the password.
        common: Well-known passwords in lower case.
    """
    if len(password) < SHORTEST:
        return f"Use at least {SHORTEST} characters; a sentence of four words is easy to keep."
    if len(password) > LONGEST:
        return f"Use at most {LONGEST} characters."
    plain = password.lower()
    if len(set(plain)) < 5 or _is_walk(plain):
        return "This is too regular to be a password."
    if _is_common(plain, common):
        return "This is among the passwords that are guessed first."
    if _rest_without(plain, (username.lower(), *PRODUCT_WORDS)) < 5:
        return "This is mostly your user name or a word of this product."
    return None


def _is_common(plain: str, common: Collection[str]) -> bool:
    """Whether it is a known password, as it stands, repeated, with digits around it or with letters dressed as digits."""
    return any(form in common for form in _forms(plain))


def _forms(plain: str) -> set[str]:
    found = {plain, plain.strip(_AROUND), plain.translate(_LEET)}
    found |= {form.translate(_LEET) for form in found} | {form.strip(_AROUND) for form in found}
    found |= {_unit(form) for form in found}
    return {form for form in found if len(form) > 3}


def _unit(text: str) -> str:
    """The part that the text repeats, or the text itself: "abcabc" → "abc"."""
    size = (text + text).find(text, 1)
    return text[:size]


def _is_walk(plain: str) -> bool:
    """Whether every character follows its neighbour: 1234…, fedcba…, with 9 followed by 0."""
    steps = {(ord(b) - ord(a)) % 10 if (a + b).isdigit() else ord(b) - ord(a) for a, b in pairwise(plain)}
    return steps <= {1} or steps <= {-1} or steps <= {9}


def _rest_without(plain: str, words: tuple[str, ...]) -> int:
    """How many letters remain when the words are taken out."""
    for word in sorted((word for word in words if len(word) > 2), key=len, reverse=True):
        plain = plain.replace(word, "")
    return len(re.sub(r"[\W\d_]", "", plain)) + len(re.sub(r"\D", "", plain)) // 2
