"""Token expiry: send `auth.expiring`, then close with 4401.

A token expires by wall time, while tasks sleep by Trio's clock, which does not notice that the wall clock was set or
that the machine slept. So wall time is read again at least every half minute: a clock that jumps ahead expires tokens
within that time, one that is set back extends them.
"""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING

import trio

from quart_wshub.connection.failures import close_after_fault
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from datetime import datetime

    from quart_wshub.auth.identity import Identity, WallClock
    from quart_wshub.connection.session import Session

__all__ = ["RECHECK_SECONDS", "TokenWatch", "expiring_frame"]

RECHECK_SECONDS = 30.0
"""How often wall time is read again, at least."""


def expiring_frame(expires_at: datetime) -> Frame:
    """The `auth.expiring` message."""
    return Frame(WSEnvelope(type="auth.expiring", data={"expires_at": expires_at.astimezone(UTC).isoformat()}).encode())


class TokenWatch:
    """Watches the token of one connection.

    Args:
        notice: seconds before the expiry at which `auth.expiring` is sent; `None`: it is not.
        wall_clock: by which the token expires.
    """

    __slots__ = ("_announced", "_notice", "_session", "_sleep", "_wall_clock")

    def __init__(self, session: Session, *, notice: float | None, wall_clock: WallClock) -> None:
        self._session = session
        self._notice = notice
        self._wall_clock = wall_clock
        self._announced: Identity | None = None
        self._sleep: trio.CancelScope | None = None

    async def run(self) -> None:
        """Watch until the connection ends. Run it once."""
        try:
            while self._session.ending is None:
                with trio.move_on_after(self.check()) as self._sleep:
                    await trio.sleep_forever()
        except Exception:
            close_after_fault(self._session)

    def identity_changed(self) -> None:
        """Have `run` check the new identity."""
        if self._sleep is not None:
            self._sleep.cancel()

    def check(self) -> float:
        """Do what is due. Returns the seconds until the next check, unless the identity changes before that."""
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
                return min(until_notice, RECHECK_SECONDS)
            self._announced = identity
            self._session.offer(expiring_frame(identity.expires_at))
        return min(remaining, RECHECK_SECONDS)
