"""Redis URLs. No part of a URL is in an error text, since it may hold a password.

They are not parsed with `urllib.parse.urlsplit`: depending on the patch release of Python, it refuses a list of hosts
with an IPv6 address in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import parse_qsl, unquote

from quart_wshub.protocol.errors import ConfigurationError

__all__ = ["RedisAddress", "RedisTarget"]

DEFAULT_PORT = 6379

SCHEMES = {
    "unix": (False, False),
    "redis": (False, False),
    "rediss": (True, False),
    "redis+cluster": (False, True),
    "rediss+cluster": (True, True),
    "valkey": (False, False),
    "valkeys": (True, False),
}
"""Whether the scheme means TLS, and whether it means a cluster."""

FORMS = "redis://, rediss://, redis+cluster://, rediss+cluster:// (host:port) or unix:///path"

URL = re.compile(
    r"(?P<scheme>[^:/?#]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
"""RFC 3986, without a fragment."""

MALFORMED_HOST = "a host is malformed; an IPv6 address, and nothing else, is in brackets"

HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^\[\]:\s]*))(?::(?P<port>.*))?")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A TCP address, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """A parsed URL. There are several `addresses` if it names several nodes of a cluster."""

    addresses: tuple[RedisAddress, ...]
    cluster: bool = False
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    def __str__(self) -> str:
        return ",".join(map(str, self.addresses))

    @classmethod
    def from_url(cls, url: str) -> RedisTarget:
        """Parse a URL.

        Raises:
            ConfigurationError: the URL is malformed; the text says in what way, and shows no part of it.
        """
        if not isinstance(url, str):
            raise _wrong(f"it is a {type(url).__name__}, not a string")
        url = url.strip()
        if not url.isprintable():
            raise _wrong("it has control characters or the like, which are percent-encoded in a URL")
        if "#" in url:
            raise _wrong("it has a fragment (#…); a # in a password is percent-encoded")
        if (parts := URL.fullmatch(url)) is None or (scheme := parts["scheme"].lower()) not in SCHEMES:
            raise _wrong("its scheme is unknown, or not followed by ://")
        username, _, password = map(unquote, (parts["login"] or "").partition(":"))
        tls, cluster = SCHEMES[scheme]
        db = _db_of_query(parts["query"] or "")
        if scheme == "unix":
            addresses: tuple[RedisAddress, ...] = (_socket(parts["hosts"], parts["path"]),)
        else:
            addresses = tuple(map(_address, parts["hosts"].split(",")))
            db = db or _db(parts["path"].strip("/"))
        if len(addresses) > 1 and not cluster:
            raise _wrong("it names several hosts, which only a cluster has")
        if db and cluster:
            raise _wrong("it names a database, and a cluster has only one")
        return cls(addresses, cluster, tls, username or None, password or None, db)


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"RedisBroker: the url is wrong: {why}. It looks like {FORMS}; "
        "special characters of user and password are percent-encoded (the url is not shown, it may hold a password)"
    )


def _address(text: str) -> RedisAddress:
    if (parts := HOST.fullmatch(text)) is None:
        raise _wrong(MALFORMED_HOST)
    port = parts["port"] or str(DEFAULT_PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise _wrong("a port is not a number from 1 to 65535; an IPv6 address is in brackets")
    host = (parts["name"] or parts["ipv6"] or "").lower()
    if not host:
        raise _wrong("it names no host")
    try:
        if parts["ipv6"]:
            IPv6Address(host)
        else:
            host.encode("idna")  # as the resolver does it
    except ValueError:
        raise _wrong(MALFORMED_HOST) from None
    return RedisAddress(host, int(port))


def _socket(host: str, path: str) -> RedisAddress:
    if host:
        raise _wrong("a Unix socket has no host; its absolute path follows three slashes")
    if path in ("", "/"):
        raise _wrong("it names no path")
    return RedisAddress(path=unquote(path))


def _db_of_query(query: str) -> int:
    options = dict(parse_qsl(query, keep_blank_values=True))
    db = _db(options.pop("db", ""))
    if options:
        raise _wrong("it has options other than db; the rest is given as arguments (TLS: ssl_context=)")
    return db


def _db(text: str) -> int:
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise _wrong("the database is not a number")
    return int(text or 0)
