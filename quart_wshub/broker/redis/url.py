"""Where a Redis is: URLs in, addresses out. Nothing of a URL reaches an error text, since it holds the password."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

__all__ = ["RedisAddress", "RedisTarget"]

DEFAULT_PORT = 6379

_SCHEMES = {
    "redis": (False, False),
    "rediss": (True, False),
    "redis+cluster": (False, True),
    "rediss+cluster": (True, True),
    "valkey": (False, False),
    "valkeys": (True, False),
}
"""Whether it speaks TLS, and whether it is a cluster."""

_SHAPES = "redis://, rediss://, redis+cluster://, rediss+cluster:// (host:port) or unix:///path"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A TCP address, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """What a URL says. `addresses` has several for a cluster whose URL names several nodes."""

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
        """Read a URL.

        Raises:
            ConfigurationError: it is none of ours; the text says what is wrong, and shows nothing of it.
        """
        if not isinstance(url, str):
            raise _wrong(f"it is a {type(url).__name__}, not a string")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _wrong("it cannot be parsed") from None
        username, password = _login(parts)
        if parts.scheme == "unix":
            address = RedisAddress(path=_path(parts))
            return cls((address,), username=username, password=password, db=_db_of_query(parts))
        if parts.scheme not in _SCHEMES:
            raise _wrong("its scheme is unknown")
        tls, cluster = _SCHEMES[parts.scheme]
        addresses = tuple(_addresses(parts))
        if len(addresses) > 1 and not cluster:
            raise _wrong("it names several hosts, which only a cluster has")
        db = _db_of_query(parts) or _db_of_path(parts)
        if db and cluster:
            raise _wrong("it names a database, and a cluster has but one")
        return cls(addresses, cluster=cluster, tls=tls, username=username, password=password, db=db)


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"RedisBroker: the url is wrong: {why}. It looks like {_SHAPES}; "
        "special characters of user and password are percent-encoded (the url is not shown, it may hold a password)"
    )


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    login, _, _ = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    return unquote(username) or None, unquote(password) or None


def _addresses(parts: SplitResult) -> Iterator[RedisAddress]:
    for place in parts.netloc.rpartition("@")[2].split(","):
        try:
            one = urlsplit(f"//{place}")
            host, port = one.hostname, one.port
        except ValueError:
            raise _wrong("a port is not a number below 65536") from None
        if not host:
            raise _wrong("it names no host")
        yield RedisAddress(host, port or DEFAULT_PORT)


def _path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if not path or path == "/":
        raise _wrong("it names no path")
    return path


def _db_of_path(parts: SplitResult) -> int:
    return _db(parts.path.strip("/"))


def _db_of_query(parts: SplitResult) -> int:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    db = _db(options.pop("db", ""))
    if options or parts.fragment:
        raise _wrong("it has options other than db; the rest is given as arguments (TLS: ssl_context=)")
    return db


def _db(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise _wrong("the database is not a number")
    return int(text)
