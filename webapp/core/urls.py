"""What a person types as an address becomes one canonical URL without a path, or a sentence that says why not."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from webapp.core.errors import InvalidInput

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 2048
MAX_HOST = 253
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.ASCII)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
# Where cloud providers serve credentials, and addresses that are no single machine's.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "0.0.0.0/32", "::/128", "224.0.0.0/4",
                 "255.255.255.255/32", "ff00::/8")
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UrlError(InvalidInput, ValueError):
    """An address that cannot be used, with ``message`` and ``hint`` as sentences."""


@dataclass(frozen=True, slots=True)
class NormalisedUrl:
    """A server's address.

    Attributes:
        host: Lower case ASCII; an IPv6 address without its brackets.
        url: scheme://host, with the port where it is not the scheme's own; no path, no trailing slash.
    """

    scheme: str
    host: str
    port: int
    url: str


def normalise_url(raw: str) -> NormalisedUrl:
    """Read a bare host, an IP address or a URL; path, query and fragment are dropped. Raises UrlError.

    Without a scheme a name means https; an IP address means http where a port other than 443 follows, else https.
    Loopback and private addresses are allowed: whom to back up is the admin's choice.
    """
    text = _check_characters(raw)
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text)
    if scheme and scheme not in DEFAULT_PORTS:
        raise UrlError(f"{scheme[:20]} addresses cannot be used.", hint="Use an address with http:// or https://.")
    host_text, port_text = _split_authority(re.split(r"[/?#]", rest, maxsplit=1)[0])
    host, address = _read_host(host_text)
    port = _read_port(port_text)
    if not scheme:
        scheme = "http" if address is not None and port not in (None, 443) else "https"
    port = port or DEFAULT_PORTS[scheme]
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
    return NormalisedUrl(scheme, host, port, f"{scheme}://{shown}{suffix}")


def _check_characters(raw: str) -> str:
    text = raw.strip(" ")
    if not text:
        raise UrlError("The address is empty.", hint="Write a host name such as odoo.example.com.")
    if len(text) > MAX_LENGTH:
        raise UrlError(
            f"The address is longer than {MAX_LENGTH} characters.", hint="Only the host and port are needed."
        )
    if not text.isprintable() or re.search(r"\s", text) or "\\" in text:
        raise UrlError("The address holds spaces, backslashes or invisible characters.", hint="Type it again.")
    return text


def _split_authority(authority: str) -> tuple[str, str | None]:
    """Host and port as they were written."""
    if "@" in authority:
        raise UrlError("The address holds a user name or password.", hint="Remove everything up to the @.")
    try:
        ipaddress.IPv6Address(authority)
    except ValueError:
        pass
    else:
        return f"[{authority}]", None
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlError("The address cannot be understood.", hint="Write host, host:port or [IPv6 address]:port.")
    return match["host"], match["port"]


def _read_port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65_535:
        raise UrlError(f"«{text[:20]}» is not a port.", hint="Use a number from 1 to 65535.")
    return int(text)


def _read_host(text: str) -> tuple[str, _Address | None]:
    """The host in ASCII, and as an address if it is one."""
    if text.startswith("["):
        return _read_ipv6(text[1:-1])
    host = _to_ascii(text.lower()).removesuffix(".")
    labels = host.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _read_ipv4(text, host)
    if len(host) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlError(f"«{text[:60]}» is not a host name.", hint="Use letters, digits, hyphens and dots.")
    return host, None


def _to_ascii(host: str) -> str:
    if not host:
        raise UrlError("The address has no host name.", hint="Write a host name such as odoo.example.com.")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise UrlError(f"«{host[:60]}» is not a host name.", hint="Write its form that begins with xn--.") from None


def _read_ipv4(text: str, host: str) -> tuple[str, ipaddress.IPv4Address]:
    """Four plain decimal numbers only: other spellings are ways around checks."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise UrlError(
            f"«{text[:60]}» is not an IP address.", hint="Write four numbers, such as 192.168.1.20."
        ) from None
    if host != text:
        raise UrlError(f"«{text[:60]}» is an unusual spelling of an IP address.", hint=f"Write {host} if it is meant.")
    _refuse_special(address)
    return str(address), address


def _read_ipv6(text: str) -> tuple[str, ipaddress.IPv6Address]:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise UrlError(f"«{text[:60]}» is not an IPv6 address.", hint="Write it as [2001:db8::20].") from None
    if address.scope_id:
        raise UrlError("Addresses with a zone (%) cannot be used.", hint="Use an address that is valid everywhere.")
    _refuse_special(address)
    return str(address), address


def _refuse_special(address: _Address) -> None:
    """Refuse link-local, metadata, unspecified and multicast addresses, also where IPv6 wraps an IPv4 one."""
    wrapped: list[_Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        wrapped += [inner for inner in (address.ipv4_mapped, address.sixtofour) if inner]
        if address in _NAT64:
            wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if any(one in network for one in wrapped for network in _REFUSED_NETWORKS):
        raise UrlError(
            f"{address} is not the address of one server: it is link-local, a metadata service or unspecific.",
            hint="Use the server's own address or name.",
        )
