"""Which network addresses an outbound connection may go to, judged on the very address that is connected to."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from webapp.core.errors import SourceError
from webapp.core.status import ErrorCode

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services of clouds outside the link-local range: AWS over IPv6, Alibaba, Oracle, Azure.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")
# Prefixes whose last 32 bits are an IPv4 address: v4-compatible, NAT64 well-known (RFC 6052) and local use (RFC 8215).
_CARRIERS = tuple(ipaddress.ip_network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class Resolved:
    """One address a name stands for, ready for ``socket.connect``."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]

    @property
    def ip(self) -> str:
        """The address in text."""
        return self.sockaddr[0]


def resolve(host: str, port: int) -> list[Resolved]:
    """All addresses of ``host``, in the resolver's order, never empty. Raises SourceError(dns_failed)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        permanent = error.errno == socket.EAI_NONAME
        raise _unresolved(host, error.strerror or "no answer", permanent=permanent) from None
    except (UnicodeError, ValueError, OSError):
        raise _unresolved(host, "this is not a usable host name", permanent=True) from None
    return [
        Resolved(family, (str(sockaddr[0]), int(sockaddr[1]), *sockaddr[2:]))
        for family, _, _, _, sockaddr in found
        if family in (socket.AF_INET, socket.AF_INET6)
    ]


def _unresolved(host: str, reason: str, *, permanent: bool) -> SourceError:
    return SourceError(
        f"The host name {host} could not be resolved: {reason}.",
        hint=(
            "Check the spelling of the URL, and that the machine Holdfast runs on can resolve this name (getent hosts)."
        ),
        code=ErrorCode.DNS_FAILED,
        permanent=permanent,
    )


def refusal_of(ip: str) -> str:
    """Why nothing may ever be sent to ``ip``, or "" when it may.

    Loopback and private ranges are allowed: an instance is where the admin says it is. Link-local addresses (where
    clouds keep their metadata services), multicast and unspecified ones never are, in none of the forms that carry an
    IPv4 address inside.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "not an address"
    return next((reason for form in _forms(address) if (reason := _reason(form))), "")


def _forms(address: IpAddress) -> list[IpAddress]:
    """The address itself and every IPv4 address it may carry."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    forms: list[IpAddress] = [address]
    forms += [inner for inner in (address.ipv4_mapped, address.sixtofour) if inner]
    if int(address) > 1 and any(address in carrier for carrier in _CARRIERS):
        forms.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return forms


def _reason(address: IpAddress) -> str:
    if address in _METADATA:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "link-local, where clouds keep their metadata services"
    if address.is_multicast or address == _BROADCAST:
        return "multicast or broadcast"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "unspecified"
    return ""
