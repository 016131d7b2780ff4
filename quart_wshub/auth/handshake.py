"""What is decided before a handshake is accepted: origin, token, subprotocol. Knows nothing of Quart."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_wshub.auth.credentials import BEARER, MASK, Credentials
from quart_wshub.auth.identity import BearerResolver, Identity, ResolverError, resolve
from quart_wshub.protocol.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_wshub.settings import WebSocketSettings

__all__ = ["Refusal", "authenticate", "choose_subprotocol", "describe_failure", "origin_allowed"]

log: logging.Logger = logging.getLogger("quart_wshub")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The handshake fails: the close code and reason, and the HTTP status for `WS_REJECT_WITH_HTTP`."""

    code: CloseCode
    reason: str
    http_status: int


def origin_allowed(origin: str | None, settings: WebSocketSettings) -> bool:
    """Whether this `Origin` may connect. Only browsers send one, and only with them does it protect anybody."""
    allowed = settings.WS_ALLOWED_ORIGINS
    return allowed is None or origin is None or origin.lower() in allowed


def choose_subprotocol(credentials: Credentials, supported: Sequence[str]) -> str | None:
    """The client's first offer that the app supports, else `bearer` if it was offered; never the token."""
    bearer = BEARER if credentials.bearer_offered else None
    return next((name for name in credentials.subprotocols if name in supported), bearer)


async def authenticate(
    credentials: Credentials, resolver: BearerResolver, settings: WebSocketSettings
) -> Identity | Refusal:
    """Ask the resolver whose token this is. A failure of the resolver is logged, with the token masked."""
    token = credentials.token
    if not token:
        return Refusal(CloseCode.UNAUTHORIZED, "token missing", 401)
    try:
        identity = await resolve(resolver, token, seconds=settings.WS_AUTH_TIMEOUT_SECONDS)
    except ResolverError as error:
        log.error("handshake failed: %s", describe_failure(token, error))
        return Refusal(CloseCode.INTERNAL_ERROR, CloseCode.INTERNAL_ERROR.reason, 500)
    if identity is None:
        return Refusal(CloseCode.UNAUTHORIZED, "token invalid or expired", 401)
    return identity


def describe_failure(token: str, error: ResolverError) -> str:
    """Why the resolver failed, for the log: with the traceback, and with the token masked."""
    text = str(error)
    if error.__cause__ is not None:
        text = "".join((f"{text}\n", *traceback.format_exception(error.__cause__))).rstrip()
    for shown in (token, repr(token)[1:-1], ascii(token)[1:-1]):  # a repr shows it with escapes
        text = text.replace(shown, MASK)
    return text
