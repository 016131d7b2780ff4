"""Bearer resolvers whose tokens say what should happen: `<user>[.<anything>]`, where some users are special."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio

from quart_wshub import Identity, JWTUtils

__all__ = ["JWTS", "resolve", "resolve_in_thread"]

JWTS = JWTUtils(secret="a secret of at least thirty-two bytes")
"""For the apps whose tokens are real."""


async def resolve(token: str) -> str | int | Identity | None:
    """Async, as most are."""
    await trio.lowlevel.checkpoint()
    user = token.partition(".")[0]
    match user:
        case "bad":
            return None
        case "expired":
            return Identity("expired", expires_at=datetime.now(UTC) - timedelta(seconds=1))
        case "brief":
            return Identity("brief", expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
        case "claims":
            return Identity("claims", claims={"role": "admin"})
        case "raising":
            msg = f"cannot decode {token}"
            raise RuntimeError(msg)
        case "nested":
            msg = f"cannot decode {token}"
            raise RuntimeError(msg) from ValueError(f"{token} is odd")
        case "slow":
            await trio.sleep_forever()
        case "nonsense":
            return 1.5  # type: ignore[return-value]  # what an app may get wrong
    return user


def resolve_in_thread(token: str) -> str | None:
    """Sync: the hub calls it in a thread."""
    if token == "raising":
        msg = f"cannot decode {token}"
        raise RuntimeError(msg)
    return None if token == "bad" else token
