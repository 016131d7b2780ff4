"""Finds the bearer token of a handshake, and masks every token in an ASGI scope."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

__all__ = ["BEARER", "MASK", "Credentials", "extract_credentials", "redact_scope"]

BEARER = "bearer"
"""The subprotocol that precedes a token. It alone may be accepted, never the token."""

MASK = "***"

SUBPROTOCOL_HEADER = b"sec-websocket-protocol"

Headers = Sequence[tuple[bytes, bytes]]

_TOKEN_IN_QUERY = "".join(f"(?:{letter}|%{ord(letter):02x})" for letter in "token").encode()
"""`token`, with any of its letters percent-encoded."""

_QUERY_TOKEN = re.compile(rb"((?:^|[?&;])" + _TOKEN_IN_QUERY + rb"=)[^&]*", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"^\s*(\S+)\s+.*$", re.DOTALL)

_URL_HEADERS = frozenset({b"referer", b"x-forwarded-uri", b"x-original-uri", b"x-original-url", b"x-rewrite-url"})
"""Headers in which browsers and proxies repeat a URL, including its query."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a handshake offered.

    Attributes:
        token: the bearer token of the first source present, or `None`.
        bearer_offered: whether the `bearer` subprotocol was offered, so that it may be accepted.
        subprotocols: the other offers, in the client's order, without `bearer` and the token.
    """

    token: str | None = field(repr=False)
    bearer_offered: bool
    subprotocols: tuple[str, ...]


def extract_credentials(
    offered: Sequence[str], authorization: str | None, query_string: bytes, *, allow_query: bool
) -> Credentials:
    """Find the token: subprotocol, `Authorization`, `?token=`. The first present wins, even when it is bad."""
    token, bearer_offered, others = _split_subprotocols(offered)
    if token is None:
        token = _authorization_token(authorization)
    if token is None and allow_query:
        token = _query_token(query_string)
    return Credentials(token, bearer_offered, others)


def _split_subprotocols(offered: Sequence[str]) -> tuple[str | None, bool, tuple[str, ...]]:
    for index, name in enumerate(offered):
        if name.lower() == BEARER:
            token = offered[index + 1] if index + 1 < len(offered) else None
            # Clients and hypercorn compare the accepted subprotocol with the offers case-sensitively.
            return token, name == BEARER, (*offered[:index], *offered[index + 2 :])
    return None, False, tuple(offered)


def _authorization_token(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == BEARER else None


def _query_token(query_string: bytes) -> str | None:
    values = parse_qs(query_string.decode("latin-1"), keep_blank_values=True, errors="replace").get("token")
    return values[0] if values else None


def redact_scope(scope: MutableMapping[str, Any]) -> None:
    """Mask every token in an ASGI scope, in place: the server's access log uses the same mapping."""
    headers, offered = scope.get("headers", ()), scope.get("subprotocols", ())
    tokens = _offered_tokens(_offers_in(headers)) | _offered_tokens(offered)
    scope["query_string"] = _mask_query(scope.get("query_string", b""))
    scope["headers"] = [(name, _mask_header(name.lower(), value, tokens)) for name, value in headers]
    scope["subprotocols"] = _mask_offered(offered, tokens)


def _offers_in(headers: Headers) -> list[str]:
    """The offered subprotocols of all header lines, which together are one list."""
    return [offer for name, value in headers if name.lower() == SUBPROTOCOL_HEADER for offer in _split_offers(value)]


def _split_offers(line: bytes) -> list[str]:
    return [name.strip() for name in line.decode("latin-1").split(",")]


def _offered_tokens(offered: Sequence[str]) -> frozenset[str]:
    """Every offer that follows a `bearer`."""
    names = [name for name in offered if name]
    followers = {after for name, after in pairwise(names) if name.lower() == BEARER}
    return frozenset(name for name in followers if name.lower() != BEARER)


def _mask_query(value: bytes) -> bytes:
    return _QUERY_TOKEN.sub(rb"\1" + MASK.encode(), value)


def _mask_header(name: bytes, value: bytes, tokens: frozenset[str]) -> bytes:
    if name in _URL_HEADERS:
        return _mask_query(value)
    if name in {b"authorization", b"proxy-authorization"}:
        return _mask_authorization(value)
    if name == SUBPROTOCOL_HEADER:
        return ", ".join(_mask_offered(_split_offers(value), tokens)).encode("latin-1")
    return value


def _mask_authorization(value: bytes) -> bytes:
    """Keep the scheme; without one, the whole value may be the token."""
    match = _AUTHORIZATION.match(value)
    return MASK.encode() if match is None else match[1] + b" " + MASK.encode()


def _mask_offered(offered: Sequence[str], tokens: frozenset[str]) -> list[str]:
    return [MASK if name in tokens else name for name in offered]
