"""From a bearer token to the identity it belongs to.

The resolver is the app's; this module defines what it may return, and runs it so that its failure is never mistaken for
a bad token. It knows nothing of sockets or HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import trio

from quart_wshub.protocol.errors import WSHubError

__all__ = ["BearerResolver", "Identity", "ResolverError", "UserId", "WallClock", "resolve", "utc_now"]

UserId = UUID | str | int
"""What identifies a user. A `UUID` and its string are two different users: use one of them everywhere."""

WallClock = Callable[[], datetime]
"""Returns the wall time, as an aware datetime."""


def utc_now() -> datetime:
    """The system's wall clock."""
    return datetime.now(UTC)


NO_CLAIMS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who authenticated. A resolver returns it in place of a bare `UserId` when it knows more.

    Attributes:
        user_id: the user.
        expires_at: when the token expires, as an aware datetime; the socket is closed with 4401 then. `None`: never.
        claims: the other claims of the token; not in the `repr`.
    """

    user_id: UserId
    expires_at: datetime | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: NO_CLAIMS, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.user_id, bool) or not isinstance(self.user_id, UserId):
            raise TypeError(f"user_id must be a UUID, str or int, not {type(self.user_id).__name__}")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ValueError("expires_at must be an aware datetime: give it a tzinfo")
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)) if self.claims else NO_CLAIMS)

    def expires_in(self, now: datetime | None = None) -> float | None:
        """Seconds until the token expires, negative if it has; `None`: never. `now` is the present if not given."""
        if self.expires_at is None:
            return None
        return (self.expires_at - (utc_now() if now is None else now)).total_seconds()

    def has_expired(self, now: datetime | None = None) -> bool:
        """Whether the token has expired at `now`, the present if not given."""
        remaining = self.expires_in(now)
        return remaining is not None and remaining <= 0


ResolverResult = UserId | Identity | None

BearerResolver = Callable[[str], ResolverResult] | Callable[[str], Awaitable[ResolverResult]]
"""`(token) -> UserId | Identity | None`, sync or async. `None` means that the token is bad (4401); raising, or taking
longer than `WS_AUTH_TIMEOUT_SECONDS`, means that the server failed (1011). A sync resolver runs in a worker thread, so
it may block."""


class ResolverError(WSHubError):
    """The resolver raised (the `__cause__`), took too long, or returned something that is not an identity."""


async def resolve(resolver: BearerResolver, token: str, *, seconds: float) -> Identity | None:
    """Ask the resolver whose token this is; `None` for a bad or expired one.

    Cancellation abandons the resolver.

    Raises:
        ResolverError: the resolver failed; its text may hold the token, so log it with `describe_failure`.
    """
    result: object = None
    with trio.move_on_after(seconds) as scope:
        try:
            result = await _call(resolver, token)
        except Exception as error:
            raise ResolverError("bearer resolver failed") from error
    if scope.cancelled_caught:
        raise ResolverError(f"bearer resolver took longer than {seconds:g} s")
    return _live_identity(result)


async def _call(resolver: BearerResolver, token: str) -> object:
    if is_async_callable(resolver):
        return await resolver(token)  # type: ignore[misc]
    # A sync callable, such as a lambda, may still return a coroutine. Trio raises if it gets one, hence the tuple.
    (result,) = await trio.to_thread.run_sync(lambda: (resolver(token),), abandon_on_cancel=True)
    return await result if inspect.isawaitable(result) else result


def is_async_callable(function: object) -> bool:
    """Whether calling `function` gives a coroutine, as far as can be told without calling it."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _live_identity(result: object) -> Identity | None:
    if result is None:
        return None
    try:
        identity = result if isinstance(result, Identity) else Identity(result)  # type: ignore[arg-type]
    except TypeError as error:
        raise ResolverError(
            f"bearer resolver returned {type(result).__name__}; it must return a UUID, str, int, Identity or None"
        ) from error
    return None if identity.has_expired() else identity
