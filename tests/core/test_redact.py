"""No spelling of a secret survives."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from webapp.core.redact import redact

SECRET = 'k9/ü& "Zq+4=%w'
SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "quote": urllib.parse.quote,
    "quote all": lambda s: urllib.parse.quote(s, safe=""),
    "quote_plus": urllib.parse.quote_plus,
    "lower-case percent": lambda s: "".join(f"%{b:02x}" if chr(b) not in "kZqw94" else chr(b) for b in s.encode()),
    "json": lambda s: json.dumps({"x": s}),
    "json as is": lambda s: json.dumps([s], ensure_ascii=False),
    "repr": repr,
    "html": html.escape,
    "hex": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "urlsafe base64": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "basic authorization": lambda s: base64.b64encode(b"admin:" + s.encode()).decode(),
    "basic authorization, shifted": lambda s: base64.b64encode(b"ab:" + s.encode() + b"tail").decode(),
    "basic authorization, shifted twice": lambda s: base64.b64encode(b"abcd:" + s.encode() + b"!").decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_goes_in_every_spelling(spelling: str) -> None:
    written = SPELLINGS[spelling](SECRET)

    clean = redact(f"before <{written}> after", [SECRET])

    assert "[secret]" in clean
    assert clean.startswith("before <")
    assert clean.endswith("> after")
    core = written.strip("=\"'{}[]: x")[5:-5]
    assert core not in clean


@given(st.text(min_size=8, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_within_base64_does_not_come_back(secret: str, before: bytes, after: bytes) -> None:
    assume(len(set(secret)) > 3)
    assume(not any(0xD800 <= ord(c) < 0xE000 for c in secret))
    raw = secret.encode()

    clean = redact(base64.b64encode(before + raw + after).decode(), [secret])

    assert "[secret]" in clean
    assert len(clean.replace("[secret]", "")) <= 4 * ((len(before) + len(after)) // 3 + 3)


def test_overlapping_and_nested_secrets_leave_no_end_behind() -> None:
    assert redact("xabcdefgx", ["abcde", "cdefg"]) == "x[secret]x"
    assert redact("hunter22 and hunter", ["hunter", "hunter22"]) == "[secret] and [secret]"
    assert redact("aaaaaaaaa", ["aaaa"]) == "[secret]"


def test_short_and_empty_secrets_are_left_alone() -> None:
    assert redact("abc is as easy as 1 2 3", ["", "abc", "a"]) == "abc is as easy as 1 2 3"


def test_each_line_of_a_private_key_goes() -> None:
    lines = ["b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9u", "AAAAB3NzaC1yc2EAAAADAQABAAABAQ"]
    key = "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])

    assert redact("line 2: AAAAB3NzaC1yc2EAAAADAQABAAABAQ is odd", [key]) == "line 2: [secret] is odd"
    assert redact(f"<{key}>", [key]) == "<[secret]>"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://odoo:hunter2@db:5432/x", "postgresql://odoo:[secret]@db:5432/x"),
        ("redis://:pa@ss@cache/0", "redis://:[secret]@cache/0"),
        ("host=db password=hunter2 user=odoo", "host=db password=[secret] user=odoo"),
        ("PGPASSWORD=hunter2 pg_dump", "PGPASSWORD=[secret] pg_dump"),
        ("password = 'hunter 2' x", "password = [secret] x"),
        ("master_pwd=admin&name=acme", "master_pwd=[secret]&name=acme"),
        ('{"db_password": "a, b", "x": 1}', '{"db_password": [secret], "x": 1}'),
        ('{\\"api_key\\": \\"abc\\", \\"x\\": 1}', '{\\"api_key\\": [secret], \\"x\\": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [secret]"),
        ("SECRET_KEY=abc", "SECRET_KEY=[secret]"),
        ('name="master_pwd"\r\n\r\nhunter2\r\n--', 'name="master_pwd"\r\n\r\n[secret]\r\n--'),
    ],
)
def test_what_looks_like_a_password_goes_too(text: str, clean: str) -> None:
    assert redact(text, []) == clean
    assert redact(clean, []) == clean


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "odoo"',
        "https://odoo.example.com:8069/web?mail=a@b.org",
        "The master password is wrong: Access denied.",
        "secret unreadable, token expired",
    ],
)
def test_plain_sentences_stay_as_they_are(text: str) -> None:
    assert redact(text, []) == text


def test_a_long_line_is_quick() -> None:
    assert redact("password" * 20_000 + "://" * 20_000, ["no such secret"]).startswith("password")
