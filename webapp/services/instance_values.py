"""Single values of an instance, read: each function answers the clean value or raises InvalidInput."""

from __future__ import annotations

import ipaddress
import re

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webapp.core.errors import InvalidInput
from webapp.core.naming import check_database_name
from webapp.core.status import DatabaseSelection
from webapp.core.urls import normalise_url

MOST_DATABASES = 200
MOST_TAGS = 20
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_HOST_HEADER = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?", re.ASCII)
_SSH_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", re.ASCII)
_TAG = re.compile(r"[^\W_][\w.+-]{0,31}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def read_tags(text: str) -> list[str]:
    """Tags separated by commas or spaces, in lower case, each once, in the order typed."""
    tags = list(dict.fromkeys(part.lower() for part in re.split(r"[,\s]+", text.strip()) if part))
    if len(tags) > MOST_TAGS:
        raise InvalidInput(f"There are more than {MOST_TAGS} tags.")
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidInput(
                f"«{tag[:40]}» cannot be a tag.", hint="Use letters, digits, dots and hyphens; at most 32."
            )
    return tags


def read_url(text: str) -> str:
    """scheme://host[:port], however it was typed."""
    return normalise_url(text).url


def read_host(text: str) -> str:
    """A host name or an IP address, without scheme, user or port."""
    host = text.strip()
    if not host:
        raise InvalidInput("The host is missing.")
    if len(host) <= 255 and (_HOST.fullmatch(host) or _is_address(host)):
        return host
    raise InvalidInput(
        f"«{host[:60]}» is not a host name.", hint="Write the name or address alone, without port or path."
    )


def read_pg_host(text: str, through_ssh: bool) -> str:
    """A host, or the directory of a Unix socket on this machine."""
    host = text.strip()
    if host.startswith("/"):
        if through_ssh:
            raise InvalidInput("A Unix socket cannot be reached through SSH.", hint="Write 127.0.0.1 instead.")
        return read_path(host)
    return read_host(host)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def read_host_header(text: str) -> str:
    """A Host header: a name, and a port where needed."""
    header = text.strip()
    if header and not (len(header) <= 255 and _HOST_HEADER.fullmatch(header)):
        raise InvalidInput(
            f"«{header[:60]}» is not a host name.", hint="Write it as erp.example.com or erp.example.com:8069."
        )
    return header


def read_ssh_user(text: str) -> str:
    """A user name as SSH takes it."""
    user = text.strip()
    if not user:
        raise InvalidInput("The SSH user is missing.")
    if len(user) > 64 or not _SSH_USER.fullmatch(user):
        raise InvalidInput(f"«{user[:60]}» is not a user name.")
    return user


def read_path(text: str) -> str:
    """An absolute path that stays where it says."""
    path = text.strip()
    if not path.startswith("/"):
        raise InvalidInput("The path must be absolute.", hint="It begins with /.")
    if len(path) > 1024 or _CONTROLS.search(path):
        raise InvalidInput("The path holds characters that do not belong there, or is too long.")
    if ".." in path.split("/"):
        raise InvalidInput("The path must not hold «..».")
    return path if path == "/" else path.rstrip("/")


def read_filestore_path(text: str) -> str:
    """An absolute path in which the only brace is ``{database}``."""
    path = read_path(text)
    if re.search(r"[{}]", path.replace("{database}", "")):
        raise InvalidInput("The path holds braces that mean nothing.", hint="Only {database} is replaced.")
    return path


def read_certificates(text: str) -> str:
    """The certificates of a PEM text and nothing else; "" for none. A private key is refused, so it is never stored."""
    if not text.strip():
        return ""
    if "PRIVATE KEY" in text:
        raise InvalidInput("This text holds a private key.", hint="Paste certificates only. Consider that key exposed.")
    if len(text) > 100_000:
        raise InvalidInput("The certificates are longer than 100,000 characters.")
    try:
        found = x509.load_pem_x509_certificates(text.strip().encode())
    except ValueError:
        raise InvalidInput(
            "This is not a certificate in PEM form.", hint="It begins with -----BEGIN CERTIFICATE-----."
        ) from None
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


def read_fingerprint(text: str) -> str:
    """SHA-256 of a certificate: 64 lower-case hex digits, however it was copied; "" for none."""
    clean = re.sub(r"^sha-?256( fingerprint)?\s*[:=]\s*", "", text.strip(), flags=re.IGNORECASE)
    digits = re.sub(r"[:\s]", "", clean).lower()
    if digits and not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InvalidInput(
            "The fingerprint is not a SHA-256 of 64 hex digits.",
            hint="openssl x509 -noout -fingerprint -sha256 -in server.pem prints it.",
        )
    return digits


def read_databases(selection: DatabaseSelection, names: tuple[str, ...]) -> list[str]:
    """The names that go with a selection: exactly one, at least one, or none."""
    clean = list(dict.fromkeys(name for name in (line.strip("\r\n") for line in names) if name.strip()))
    if selection is DatabaseSelection.ALL:
        return []
    if not clean:
        raise InvalidInput("No database is named.", hint="Write its name, or choose «All».")
    if selection is DatabaseSelection.SINGLE and len(clean) > 1:
        raise InvalidInput("More than one database is named.", hint="Choose «Selected» for several.")
    if len(clean) > MOST_DATABASES:
        raise InvalidInput(f"More than {MOST_DATABASES} databases are named.", hint="Choose «All».")
    return [check_database_name(name) for name in clean]
