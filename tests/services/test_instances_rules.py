"""What an instance may be: the table of refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.drafts import ODOO_HTTP, ODOO_POSTGRES, POSTGRES, changed
from webapp.core.errors import InvalidInput
from webapp.core.plans import NO_SECRET, Secret
from webapp.services.drafts import InvalidDraft
from webapp.services.instance_keys import pasted_key_columns, read_host_key
from webapp.services.instance_rules import InstanceDraft, check_draft
from webapp.services.instance_values import read_certificates, read_fingerprint, read_tags

NONE_STORED: frozenset[str] = frozenset()
OVER_SSH = changed(ODOO_POSTGRES, filestore_kind="ssh", ssh_host="web.example", ssh_user="odoo")

REFUSED: list[tuple[InstanceDraft, str, Any, str]] = [
    (ODOO_HTTP, "kind", "mysql", "kind"),
    (ODOO_HTTP, "name", "  ", "name"),
    (ODOO_HTTP, "name", "x" * 129, "name"),
    (ODOO_HTTP, "name", "a\x00b", "name"),
    (ODOO_HTTP, "name", "a\nb", "name"),
    (ODOO_HTTP, "url", "", "url"),
    (ODOO_HTTP, "url", "file:///etc/passwd", "url"),
    (ODOO_HTTP, "url", "https://user:secret@erp.example", "url"),
    (ODOO_HTTP, "url", "http://169.254.169.254/", "url"),
    (ODOO_HTTP, "url", "https://0x7f.1/", "url"),
    (ODOO_HTTP, "url", "https://erp.example:99999", "url"),
    (ODOO_HTTP, "url", "http://erp.example", "allow_plain_http"),
    (ODOO_HTTP, "master_password", NO_SECRET, "master_password"),
    (ODOO_HTTP, "host_header", "erp.example\r\nX-Evil: 1", "host_header"),
    (ODOO_HTTP, "host_header", "erp.example/path", "host_header"),
    (ODOO_HTTP, "tls_ca_pem", "not a certificate", "tls_ca_pem"),
    (ODOO_HTTP, "tls_fingerprint", "abc123", "tls_fingerprint"),
    (ODOO_HTTP, "tags", "ok, <script>", "tags"),
    (ODOO_HTTP, "target_age_hours", "0", "target_age_hours"),
    (ODOO_HTTP, "target_age_hours", "9e9", "target_age_hours"),
    (ODOO_HTTP, "database_selection", "most", "database_selection"),
    (ODOO_POSTGRES, "databases", (), "databases"),
    (ODOO_POSTGRES, "databases", ("a", "b"), "databases"),
    (ODOO_POSTGRES, "databases", ("x" * 64,), "databases"),
    (ODOO_POSTGRES, "databases", ("a\0b",), "databases"),
    (ODOO_POSTGRES, "pg_host", "", "pg_host"),
    (ODOO_POSTGRES, "pg_host", "-oProxyCommand=x", "pg_host"),
    (ODOO_POSTGRES, "pg_host", "db host", "pg_host"),
    (ODOO_POSTGRES, "pg_host", "db.example,evil.example", "pg_host"),
    (ODOO_POSTGRES, "pg_host", "postgresql://evil.example", "pg_host"),
    (ODOO_POSTGRES, "pg_port", "0", "pg_port"),
    (ODOO_POSTGRES, "pg_port", "65536", "pg_port"),
    (ODOO_POSTGRES, "pg_port", "５４３２", "pg_port"),
    (ODOO_POSTGRES, "pg_user", "", "pg_user"),
    (ODOO_POSTGRES, "pg_user", "odoo\0", "pg_user"),
    (ODOO_POSTGRES, "pg_sslmode", "sometimes", "pg_sslmode"),
    (ODOO_POSTGRES, "filestore_kind", "ftp", "filestore_kind"),
    (ODOO_POSTGRES, "filestore_path", "relative/path", "filestore_path"),
    (ODOO_POSTGRES, "filestore_path", "/srv/../etc", "filestore_path"),
    (ODOO_POSTGRES, "filestore_path", "/srv/\0x", "filestore_path"),
    (ODOO_POSTGRES, "filestore_path", "/srv/{db}", "filestore_path"),
    (OVER_SSH, "ssh_host", "", "ssh_host"),
    (OVER_SSH, "ssh_host", "-oProxyCommand=sh", "ssh_host"),
    (OVER_SSH, "ssh_host", "user@host", "ssh_host"),
    (OVER_SSH, "ssh_user", "-l", "ssh_user"),
    (OVER_SSH, "ssh_user", "", "ssh_user"),
    (OVER_SSH, "ssh_port", "", "ssh_port"),
]


@pytest.mark.parametrize(("draft", "field", "value", "refused_at"), REFUSED)
def test_what_cannot_be_used_is_refused_at_its_field(
    draft: InstanceDraft, field: str, value: Any, refused_at: str
) -> None:
    with pytest.raises(InvalidDraft) as refused:
        check_draft(changed(draft, **{field: value}), NONE_STORED)

    assert refused_at in {problem.field for problem in refused.value.problems}
    assert all(problem.message.endswith(".") for problem in refused.value.problems)


@pytest.mark.parametrize("draft", [ODOO_HTTP, ODOO_POSTGRES, POSTGRES, OVER_SSH])
def test_the_ordinary_passes(draft: InstanceDraft) -> None:
    assert check_draft(draft, NONE_STORED).columns["name"] == draft.name


def test_all_refusals_come_at_once() -> None:
    with pytest.raises(InvalidDraft) as refused:
        check_draft(changed(ODOO_HTTP, name="", url="", master_password=NO_SECRET), NONE_STORED)

    assert [problem.field for problem in refused.value.problems] == ["name", "url", "master_password"]


@pytest.mark.parametrize(
    ("fields", "column", "value"),
    [
        ({"url": "erp.acme.example"}, "url", "https://erp.acme.example"),
        ({"url": "http://10.0.0.5:8069/odoo", "allow_plain_http": True}, "url", "http://10.0.0.5:8069"),
        ({"allow_plain_http": True}, "allow_plain_http", False),
        ({"tls_fingerprint": "SHA256 Fingerprint=" + ":".join(["AB"] * 32)}, "tls_fingerprint", "ab" * 32),
        ({"tags": " Prod,prod  pos "}, "tags", ["prod", "pos"]),
        ({"database_selection": "all", "databases": ("ignored",)}, "databases", []),
    ],
)
def test_values_are_normalised(fields: dict[str, Any], column: str, value: Any) -> None:
    assert check_draft(changed(ODOO_HTTP, **fields), NONE_STORED).columns[column] == value


def test_a_socket_directory_is_a_host_but_not_through_ssh() -> None:
    socket = changed(ODOO_POSTGRES, pg_host="/var/run/postgresql")
    assert check_draft(socket, NONE_STORED).columns["pg_host"] == "/var/run/postgresql"

    with pytest.raises(InvalidDraft, match="Unix socket"):
        check_draft(changed(socket, pg_through_ssh=True, ssh_host="web.example", ssh_user="odoo"), NONE_STORED)


def test_only_certificates_of_a_pem_text_are_kept_and_a_private_key_is_refused() -> None:
    certificate, key = make_certificate()

    assert read_certificates("some words\n" + certificate + "\nmore") == certificate
    with pytest.raises(InvalidInput, match="private key"):
        read_certificates(certificate + key)


def test_fingerprints_and_tags_at_their_edges() -> None:
    assert read_fingerprint("") == ""
    assert read_tags("") == []
    with pytest.raises(InvalidInput):
        read_tags(",".join(f"tag{n}" for n in range(21)))


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-dss AAAA", "ssh-ed25519 AAAAB3NzaC1yc2E="])
def test_what_is_no_host_key_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput):
        read_host_key(line)


def test_a_pasted_key_needs_to_be_one_without_passphrase() -> None:
    _, key = make_certificate()

    _, public = pasted_key_columns(Secret(key.replace("\n", "\r\n")))

    assert public.startswith("ecdsa-sha2-nistp256 ")
    with pytest.raises(InvalidInput):
        pasted_key_columns(Secret("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----"))


def make_certificate() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
