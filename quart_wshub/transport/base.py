"""The seam between a connection and the socket below it.

An implementation moves whole messages and knows nothing of users, topics or heartbeats. One contract suite,
`tests/contract_transport.py`, runs on every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quart_wshub.frame import Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """One accepted WebSocket.

    Guarantees:
      - messages arrive and leave in order, whole, text as `str` and binary as `bytes`, also when empty;
      - `receive` and `close` are called by one task at a time, `send` by one task at a time;
      - once the socket is closed, from either side, every method but `abort` and `close` raises
        `WebSocketDisconnect` with the peer's code and reason where the server tells them, else 1006;
      - every awaiting method is a checkpoint, also when it raises.
    """

    def try_send(self, frame: Frame) -> bool:
        """Send at once, without waiting, if nothing is in the way. `False`: not sent, queue it."""
        ...

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send these, in order. Returns when the server or the kernel has taken them.

        Cancellation leaves every frame either wholly handed over or not at all.
        """
        ...

    async def receive(self) -> str | bytes:
        """The next message.

        Cancellation loses nothing.

        Raises:
            MessageTooBigError: the message is over the limit; nothing more can be received.
            WebSocketDisconnect: the peer has gone.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Do the closing handshake: send the close frame, drain input until the peer answers, end the connection.

        Does nothing where the peer has gone. Waits for as long as the peer takes: put a deadline around it.
        Cancellation ends the wait, and `abort` is due next.
        """
        ...

    def abort(self) -> None:
        """End the connection now, as far as the server allows, and free a task stuck in `send`. Idempotent."""
        ...
