"""The HTTP client by itself: where it connects, what it sends, and the limits it keeps."""

from __future__ import annotations

import pytest

from tests.support import http_faults as faults
from tests.support.http_faults import Answer
from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import IMPATIENT
from webapp.core.errors import InvalidInput, SourceError
from webapp.core.status import ErrorCode
from webapp.engine.addresses import refusal_of
from webapp.engine.connections import target_of
from webapp.engine.http import HttpLimits, Request, request
from webapp.engine.report import SilentReporter

REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "64:ff9b::",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "::ffff:224.0.0.1",
    "255.255.255.255",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "nonsense",
]
ALLOWED = [
    "127.0.0.1",
    "::1",
    "10.0.0.5",
    "172.16.3.4",
    "192.168.1.10",
    "100.64.0.1",
    "8.8.8.8",
    "::ffff:10.0.0.5",
    "fd00::5",
    "2001:db8::1",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("ip", REFUSED)
def test_addresses_that_are_never_connected_to(ip: str) -> None:
    assert refusal_of(ip)


@pytest.mark.parametrize("ip", ALLOWED)
def test_addresses_an_instance_may_have(ip: str) -> None:
    assert refusal_of(ip) == ""


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
        "0",
        "0xa9.254.0xa9fe",
        "2852039166",
        "[64:ff9b::a9fe:a9fe]",
        "[ff02::1]",
    ],
)
def test_every_spelling_of_a_refused_address_is_refused_at_connect_time(host: str) -> None:
    target = target_of(f"http://{host}:9")

    with pytest.raises(SourceError) as caught, request(target, Request("GET", "/"), SilentReporter(), limits=IMPATIENT):
        pass

    assert caught.value.code is ErrorCode.ADDRESS_REFUSED
    assert caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "odoo.example.com",
        "ftp://x",
        "file:///etc/passwd",
        "http://",
        "http://:80",
        "http://a:b@host",
        "http://host:99999",
        "http://ho st",
        "http://host\r\nX: y",
        "http://[::1",
        "javascript:alert(1)",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(url)

    assert caught.value.field == "url"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "host_header", "sent", "verified"),
    [
        ("https://odoo.example.com", "", "odoo.example.com", "odoo.example.com"),
        ("https://odoo.example.com:8443", "", "odoo.example.com:8443", "odoo.example.com"),
        ("http://odoo.example.com:80", "", "odoo.example.com", "odoo.example.com"),
        ("http://[2001:db8::1]:8069", "", "[2001:db8::1]:8069", "2001:db8::1"),
        ("https://odoo.example.com", "prod.example.com", "prod.example.com", "odoo.example.com"),
        ("https://10.0.0.5", "prod.example.com", "prod.example.com", "prod.example.com"),
        ("https://10.0.0.5", "prod.example.com:8443", "prod.example.com:8443", "prod.example.com"),
    ],
)
def test_the_host_header_and_the_name_that_must_be_proven(url: str, host_header: str, sent: str, verified: str) -> None:
    target = target_of(url, host_header=host_header)

    assert target.host_header == sent
    assert target.server_name == verified


def test_the_request_says_what_it_wants_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with OdooLike() as odoo:
        with request(target_of(odoo.url), Request("GET", "/web/login"), SilentReporter()) as response:
            body = response.beginning(10**6)

        assert response.status == 200
        assert b"oe_login_form" in body
        assert odoo.requests[0].headers == {
            "host": f"127.0.0.1:{odoo.port}",
            "user-agent": "Holdfast",
            "accept-encoding": "identity",
            "connection": "close",
        }


@pytest.mark.parametrize(
    ("sender", "known"), [(faults.prefork, False), (faults.threaded, True), (faults.with_length, True)]
)
def test_the_client_knows_whether_the_length_is_known(sender: faults.Sender, known: bool) -> None:
    body = bytes(range(256)) * 20_000
    with OdooLike(overrides={"/x": faults.instead(Answer(200, (), body), sender)}) as odoo:
        with request(target_of(odoo.url), Request("GET", "/x"), SilentReporter()) as response:
            blocks = [bytes(block) for block in response.chunks()]

        assert response.length_known is known
        assert b"".join(blocks) == body
        assert max(len(block) for block in blocks) <= 1024 * 1024
        assert len(blocks) <= 8


def test_a_trickle_above_the_minimum_is_put_up_with() -> None:
    body = b"x" * 60
    limits = HttpLimits(idle_seconds=5, slowest_bytes_per_second=5, slow_window_seconds=0.2)
    with (
        OdooLike(overrides={"/x": faults.instead(Answer(200, (), body), faults.drip(0.01))}) as odoo,
        request(target_of(odoo.url), Request("GET", "/x"), SilentReporter(), limits=limits) as response,
    ):
        assert response.beginning(1000) == body


def test_a_head_that_trickles_is_stalled_too() -> None:
    def send(line: faults.Line, answer: Answer) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n")
        while not line.stopping.wait(0.05):
            line.send(b"X")

    with (
        OdooLike(overrides={"/x": send}) as odoo,
        pytest.raises(SourceError) as caught,
        request(target_of(odoo.url), Request("GET", "/x"), SilentReporter(), limits=IMPATIENT),
    ):
        pass

    assert caught.value.code is ErrorCode.STALLED
