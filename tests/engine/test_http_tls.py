"""Who is on the other side (F11): nothing is sent to a server that cannot prove what the plan asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from tests.support.archives import MemorySink
from tests.support.certificates import fingerprint, self_signed, server_context
from tests.support.odoo_like import OdooLike
from tests.support.odoo_runs import PASSWORD, backup_plan, source_for
from webapp.core.errors import HoldfastError
from webapp.core.plans import TlsPlan
from webapp.core.reports import CheckState
from webapp.core.status import ErrorCode
from webapp.engine.report import SilentReporter

CA = trustme.CA()
CA_PEM = CA.cert_pem.bytes().decode()
GOOD = CA.issue_cert("127.0.0.1")
NAMED = CA.issue_cert("prod.example.com")
EXPIRED = CA.issue_cert(
    "127.0.0.1",
    not_before=datetime.now(UTC) - timedelta(days=30),
    not_after=datetime.now(UTC) - timedelta(days=1),
)
SOON = CA.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=5))
SELF, SELF_PEM = self_signed("127.0.0.1")


def _back_up(odoo: OdooLike, tls: TlsPlan, **changes: Any) -> bytes:
    sink = MemorySink()
    source_for(odoo, tls=tls, **changes).write_archive(backup_plan(odoo), sink, SilentReporter())
    return bytes(sink.data)


@pytest.mark.parametrize(
    ("leaf", "tls", "host_header"),
    [
        (GOOD, TlsPlan(ca_pem=CA_PEM), ""),
        (GOOD, TlsPlan(fingerprint=fingerprint(GOOD)), ""),
        (EXPIRED, TlsPlan(fingerprint=fingerprint(EXPIRED)), ""),
        (NAMED, TlsPlan(fingerprint=fingerprint(NAMED)), ""),
        (NAMED, TlsPlan(ca_pem=CA_PEM), "prod.example.com"),
        (NAMED, TlsPlan(ca_pem=CA_PEM), "prod.example.com:8443"),
    ],
    ids=[
        "own CA",
        "pinned",
        "pinned though expired",
        "pinned other name",
        "Host header names it",
        "Host header with port",
    ],
)
def test_a_proven_server_is_backed_up(leaf: trustme.LeafCert, tls: TlsPlan, host_header: str) -> None:
    with OdooLike(tls=server_context(leaf)) as odoo:
        assert _back_up(odoo, tls, host_header=host_header) == odoo.databases["prod"].zip_bytes


@pytest.mark.parametrize(
    ("leaf", "tls", "word"),
    [
        (GOOD, TlsPlan(), "fingerprint"),
        (GOOD, TlsPlan(ca_pem=trustme.CA().cert_pem.bytes().decode()), "fingerprint"),
        (EXPIRED, TlsPlan(ca_pem=CA_PEM), "Renew"),
        (NAMED, TlsPlan(ca_pem=CA_PEM), "Host header"),
        (GOOD, TlsPlan(fingerprint="0" * 64), "renewed on purpose"),
        (GOOD, TlsPlan(fingerprint=fingerprint(GOOD)[:-1]), "renewed on purpose"),
        (GOOD, TlsPlan(ca_pem=CA_PEM, fingerprint=fingerprint(NAMED)), "renewed on purpose"),
    ],
    ids=["unknown CA", "another CA", "expired", "wrong host", "wrong pin", "short pin", "wrong pin, right CA"],
)
def test_an_unproven_server_gets_nothing(leaf: trustme.LeafCert, tls: TlsPlan, word: str) -> None:
    with OdooLike(tls=server_context(leaf)) as odoo:
        with pytest.raises(HoldfastError) as caught:
            _back_up(odoo, tls)

        assert caught.value.code is ErrorCode.TLS_FAILED
        assert word in caught.value.hint
        assert odoo.requests == []


def test_a_self_signed_certificate_is_refused_until_it_is_known() -> None:
    with OdooLike(tls=SELF) as odoo:
        with pytest.raises(HoldfastError) as caught:
            _back_up(odoo, TlsPlan())

        assert caught.value.code is ErrorCode.TLS_FAILED
        assert "self-signed" in caught.value.hint
        assert odoo.requests == []


def test_plain_http_behind_an_https_url_is_named() -> None:
    with OdooLike() as odoo:
        with pytest.raises(HoldfastError) as caught:
            _back_up(odoo, TlsPlan(), url=odoo.url.replace("http:", "https:"))

        assert caught.value.code is ErrorCode.TLS_FAILED
        assert "plain http" in caught.value.hint
        assert not odoo.saw(PASSWORD)


def test_https_behind_an_http_url_is_no_backup() -> None:
    with OdooLike(tls=server_context(GOOD)) as odoo, pytest.raises(HoldfastError) as caught:
        _back_up(odoo, TlsPlan(allow_plain_http=True), url=odoo.url.replace("https:", "http:"))

    assert caught.value.code in (ErrorCode.HTTP_ERROR, ErrorCode.CONNECTION_LOST)


def test_text_that_is_no_certificate_is_an_input_error() -> None:
    with OdooLike(tls=server_context(GOOD)) as odoo, pytest.raises(HoldfastError) as caught:
        _back_up(odoo, TlsPlan(ca_pem="hello"))

    assert caught.value.code is ErrorCode.INVALID_CONFIGURATION


def _tls_check(odoo: OdooLike, tls: TlsPlan) -> Any:
    checks = source_for(odoo, tls=tls).probe("prod", SilentReporter())
    return next(check for check in checks if check.key == "tls")


def test_the_probe_tells_subject_expiry_and_fingerprint() -> None:
    with OdooLike(tls=server_context(GOOD)) as odoo:
        check = _tls_check(odoo, TlsPlan(ca_pem=CA_PEM))

        assert check.state is CheckState.PASSED
        assert fingerprint(GOOD) in check.detail


def test_the_probe_warns_before_a_certificate_expires() -> None:
    with OdooLike(tls=server_context(SOON)) as odoo:
        check = _tls_check(odoo, TlsPlan(ca_pem=CA_PEM))

        assert check.state is CheckState.WARNING
        assert check.value == "4 days left"


def test_the_probe_shows_the_fingerprint_of_a_refused_certificate() -> None:
    with OdooLike(tls=server_context(GOOD)) as odoo:
        check = _tls_check(odoo, TlsPlan())

        assert check.state is CheckState.FAILED
        assert fingerprint(GOOD) in check.detail
        assert odoo.requests == []
