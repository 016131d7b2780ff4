"""Where a bearer token comes from in a handshake, and how it is kept out of everything that is shown.

Works on the bytes of an ASGI scope and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

__all__ = ["BEARER", "MASK", "Credentials", "extract_credentials", "masked", "redact_scope"]

BEARER = "bearer"
"""The subprotocol that carries a token, and the only thing of it that is echoed."""

MASK = "***"

Headers = Sequence[tuple[bytes, bytes]]

_QUERY_TOKEN = re.compile(rb"((?:^|[?&;])token=)[^&;#]*", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"^\s*(\S+)\s+.*$", re.DOTALL)
_SUBPROTOCOL_TOKEN = re.compile(rb"(?i)((?:^|,)[\s]*bearer[\s]*,[\s]*)[^,\s]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a handshake offered.

    Attributes:
        token: the bearer token of the first source present, or `None`.
        bearer_offered: whether the `bearer` subprotocol was offered and so may be echoed.
        subprotocols: what else was offered, in the client's order, without `bearer` and the token.
    """

    token: str | None = field(repr=False)
    bearer_offered: bool
    subprotocols: tuple[str, ...]


def extract_credentials(
    offered: Sequence[str], authorization: str | None, query_string: bytes, *, allow_query: bool
) -> Credentials:
    """Find the token. In order: subprotocol, `Authorization`, `?token=`; the first present wins, even when it is bad."""
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
            return token, True, (*offered[:index], *offered[index + 2 :])
    return None, False, tuple(offered)


def _authorization_token(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == BEARER else None


def _query_token(query_string: bytes) -> str | None:
    values = parse_qs(query_string.decode("latin-1"), keep_blank_values=True, errors="replace").get("token")
    return values[0] if values else None


def redact_scope(scope: MutableMapping[str, Any]) -> None:
    """Mask every token in an ASGI scope, in place: the server's access log reads the very same mapping."""
    scope.update(masked(scope))


def masked(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an ASGI scope that describe the request, with every token masked."""
    return {
        "path": scope["path"],
        "query_string": _mask_query(scope.get("query_string", b"")),
        "headers": [(name, _mask_header(name.lower(), value)) for name, value in scope.get("headers", ())],
        "subprotocols": _mask_offered(scope.get("subprotocols", ())),
    }


def _mask_query(value: bytes) -> bytes:
    return _QUERY_TOKEN.sub(rb"\1" + MASK.encode(), value)


def _mask_header(name: bytes, value: bytes) -> bytes:
    if name == b"referer":
        return _mask_query(value)
    if name in {b"authorization", b"proxy-authorization"}:
        return _AUTHORIZATION.sub(rb"\1 " + MASK.encode(), value)
    if name == b"sec-websocket-protocol":
        return _SUBPROTOCOL_TOKEN.sub(rb"\1" + MASK.encode(), value)
    return value


def _mask_offered(offered: Sequence[str]) -> list[str]:
    return [MASK if index and offered[index - 1].lower() == BEARER else name for index, name in enumerate(offered)]
