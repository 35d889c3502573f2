"""What a person types as an address, and what it becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.core.urls import UrlError, normalise_url


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("odoo.example.com", "https://odoo.example.com"),
        ("  Odoo.Example.COM.  ", "https://odoo.example.com"),
        ("odoo.example.com:8069", "https://odoo.example.com:8069"),
        ("localhost:8069", "https://localhost:8069"),
        ("http://localhost:8069/web?db=x#top", "http://localhost:8069"),
        ("HTTPS://odoo.example.com:443/", "https://odoo.example.com"),
        ("http://odoo.example.com:80", "http://odoo.example.com"),
        ("http://odoo.example.com:443", "http://odoo.example.com:443"),
        ("192.168.1.20", "https://192.168.1.20"),
        ("192.168.1.20:8069", "http://192.168.1.20:8069"),
        ("192.168.1.20:443", "https://192.168.1.20"),
        ("127.0.0.1:80", "http://127.0.0.1"),
        ("[2001:DB8::0020]:8069", "http://[2001:db8::20]:8069"),
        ("2001:db8::20", "https://[2001:db8::20]"),
        ("[::1]", "https://[::1]"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
        ("odoo_web:8069", "https://odoo_web:8069"),
        ("bücher.example", "https://xn--bcher-kva.example"),
        ("10.0.0.1.example.com", "https://10.0.0.1.example.com"),
    ],
)
def test_an_address_becomes_one_canonical_url(raw: str, url: str) -> None:
    found = normalise_url(raw)

    assert found.url == url
    assert normalise_url(url) == found


def test_the_parts_are_given_too() -> None:
    found = normalise_url("[2001:db8::20]:8069")

    assert (found.scheme, found.host, found.port) == ("http", "2001:db8::20", 8069)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        "http://",
        "https:///path",
        "//odoo.example.com",
        "ftp://odoo.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:odoo.example.com",
        "https://admin:secret@odoo.example.com",
        "odoo.example.com@evil.example",
        "odoo.example.com:0",
        "odoo.example.com:65536",
        "odoo.example.com:",
        "odoo.example.com:80:80",
        "odoo.example.com:8o69",
        "odoo.example.com:٨٠",
        "odoo example.com",
        "odoo.example.com\n",
        "odoo\tx.example.com",
        "odoo.example.com\u202e",
        "odoo.example.com\0",
        "https:\\\\odoo.example.com",
        "-odoo.example.com",
        "https://-odoo.example.com",
        "odoo-.example.com",
        "odoo..example.com",
        ".example.com",
        "odoo%2eexample.com",
        "x" * 64 + ".example.com",
        "x." * 127 + "example.com",
        "a" * 3000,
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.01",
        "256.1.1.1",
        "1.2.3.4.5",
        "example.0x1",
        "１２７.０.０.１",
        "127。0。0。1",
        "169.254.169.254",
        "http://169.254.0.1:8069",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[2001:db8::1%eth0]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
        "[::1",
        "[not-an-address]",
        "[::1]x:80",
    ],
)
def test_what_is_not_the_address_of_one_server_is_refused_with_a_hint(raw: str) -> None:
    with pytest.raises(UrlError) as caught:
        normalise_url(raw)

    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    assert "secret@" not in caught.value.message


@given(st.text(max_size=40) | st.text(alphabet="ahtps:/.-[]0123456789x@%?#é", max_size=30))
def test_any_text_is_either_canonical_or_refused(raw: str) -> None:
    try:
        found = normalise_url(raw)
    except UrlError:
        return
    assert normalise_url(found.url) == found
    assert found.url.isascii()
    assert 1 <= found.port <= 65_535
