"""Token expiry: send `auth.expiring`, then close with 4401.

A token expires by wall time, and tasks wait by Trio's clock, which knows nothing of a wall clock that is set or of a
machine that slept. So wall time is read again at least every half minute: a clock that jumps ahead expires tokens
within that time, one that is set back extends them.
"""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING

import trio

from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from datetime import datetime

    from quart_wshub.auth.identity import Identity, WallClock
    from quart_wshub.connection.session import Session

__all__ = ["LOOK_EVERY", "TokenWatch", "expiring_frame"]

LOOK_EVERY = 30.0
"""Seconds after which wall time is read again at the latest."""


def expiring_frame(expires_at: datetime) -> Frame:
    """The notice that the token is about to expire."""
    return Frame(WSEnvelope(type="auth.expiring", data={"expires_at": expires_at.astimezone(UTC).isoformat()}).encode())


class TokenWatch:
    """Watches the token of one connection.

    Args:
        notice: seconds before the expiry at which the client is told; `None`: it is not.
        wall_clock: tells the wall time.
    """

    __slots__ = ("_announced", "_nap", "_notice", "_session", "_wall_clock")

    def __init__(self, session: Session, *, notice: float | None, wall_clock: WallClock) -> None:
        self._session = session
        self._notice = notice
        self._wall_clock = wall_clock
        self._announced: Identity | None = None
        self._nap: trio.CancelScope | None = None

    async def run(self) -> None:
        """Watch until the connection ends. Run it once."""
        while self._session.ending is None:
            with trio.move_on_after(self.look()) as self._nap:
                await trio.sleep_forever()

    def look_again(self) -> None:
        """There is a newer identity."""
        if self._nap is not None:
            self._nap.cancel()

    def look(self) -> float:
        """Do what is due, and tell in how many seconds to look again, unless the identity changes before that."""
        identity = self._session.identity
        if identity.expires_at is None:
            return math.inf
        remaining = (identity.expires_at - self._wall_clock()).total_seconds()
        if remaining <= 0:
            self._session.close(CloseCode.UNAUTHORIZED, "token expired")
            return math.inf
        if self._notice is not None and self._announced is not identity:
            until_notice = remaining - self._notice
            if until_notice > 0:
                return min(until_notice, LOOK_EVERY)
            self._announced = identity
            self._session.offer(expiring_frame(identity.expires_at))
        return min(remaining, LOOK_EVERY)
